"""The JSON of the engine's HTTP API to values and back, and the remedies for its errors. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netlab.engine.protocol import Container, ContainerSpec, Event, Image, Network

LAST_WORDS = 20  # lines of a build that failed
REMEDIES = (  # part of an error -> what to do
    ("invalid reference format", "Use a name like registry.example/team/app:1.0, in lower case."),
    ("no command specified", "The image has no default command: set `command` of the container."),
    ("no such image", "Pull, build or load it: docker pull NAME, docker build -t NAME ., docker load."),
    ("pool overlaps", "Set another spec.networking.nodeSubnet; `docker network ls` lists the networks."),
    ("network with name", "The lab did not create it: use another lab name (netlab up --name), or docker network rm NAME."),
    ("is already in use by container", "It is a leftover of a lab of that name: netlab gc, or docker rm -f NAME."),
    ("apply caps", "The engine lacks a capability. An engine that runs in a container must have all."),
    ("bind source path does not exist", "The lab's record was removed while the lab ran: netlab down, then netlab up FILE."),
    ("pull access denied", "Check the name. A private image: docker login. Your own image: docker build -t NAME ."),
    ("manifest unknown", "The registry has the image, but not this tag: use another tag."),
    ("toomanyrequests", "The registry limits pulls: docker login, or copy the image: docker save, docker load."),
    (
        "has active endpoints",
        "`docker network inspect NAME` lists its containers. Remove leftovers of labs: netlab gc.",
    ),
)

LOG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "5"}}  # kubelet's, and `log_files.CONTAINER`
NO_HEALTHCHECK = {"Test": ["NONE"]}  # Kubernetes ignores HEALTHCHECK: pods have probes


def container_body(spec: ContainerSpec) -> dict[str, Any]:
    """Return the body of POST /containers/create."""
    host: dict[str, Any] = {
        "NetworkMode": spec.network or "none",
        "Sysctls": dict(spec.sysctls),
        "ReadonlyRootfs": spec.read_only,
        "LogConfig": LOG,
        "Mounts": [
            {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": not mount.writable}
            for mount in spec.mounts
        ],
    }
    if spec.capabilities is not None:
        host |= {"CapDrop": ["ALL"], "CapAdd": list(spec.capabilities)}
    if spec.no_new_privileges:
        host["SecurityOpt"] = ["no-new-privileges:true"]
    if spec.processes:
        host["PidsLimit"] = spec.processes
    if spec.memory:
        host |= {"Memory": spec.memory, "MemorySwap": spec.memory}
    body: dict[str, Any] = {
        "Image": spec.image,
        "Labels": dict(spec.labels),
        "Env": [f"{name}={value}" for name, value in spec.environment.items()],
        "WorkingDir": spec.working_directory,
        "User": spec.user,
        "Hostname": spec.hostname,
        "NetworkDisabled": not spec.network,
        "Healthcheck": NO_HEALTHCHECK,
        "HostConfig": host,
    }
    optional = {"Entrypoint": spec.entrypoint, "Cmd": spec.command}
    body |= {key: list(words) for key, words in optional.items() if words is not None}
    if spec.stop_signal:
        body["StopSignal"] = spec.stop_signal
    if spec.address:
        body["NetworkingConfig"] = {"EndpointsConfig": {spec.network: {"IPAMConfig": {"IPv4Address": spec.address}}}}
    return body


def container_of(entry: Mapping[str, Any]) -> Container:
    state, config = entry["State"], entry["Config"]
    return Container(
        id=entry["Id"],
        name=entry["Name"].removeprefix("/"),
        image=config["Image"],
        labels=dict(config.get("Labels") or {}),
        state=state["Status"],
        pid=int(state["Pid"]),
        exit_code=int(state["ExitCode"]),
        started_at=state["StartedAt"],
        stop_signal=config.get("StopSignal") or "SIGTERM",
        networks=tuple(on["NetworkID"] for on in (entry["NetworkSettings"].get("Networks") or {}).values() if on["NetworkID"]),
    )


def image_of(entry: Mapping[str, Any]) -> Image:
    return Image(
        id=entry["Id"],
        tags=tuple(entry.get("RepoTags") or ()),
        labels=dict(entry.get("Labels") or {}),
        size=int(entry["Size"]),
        created=float(entry["Created"]),
    )


def network_of(entry: Mapping[str, Any]) -> Network:
    ranges = tuple(part["Subnet"] for part in entry["IPAM"].get("Config") or () if "Subnet" in part)
    return Network(entry["Id"], entry["Name"], dict(entry.get("Labels") or {}), ranges)


def label_filters(labels: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" if value else name for name, value in labels.items()]


def event_of(entry: Mapping[str, Any]) -> Event:
    attributes = dict(entry["Actor"]["Attributes"])
    code, name = int(attributes.pop("exitCode", 0)), attributes.pop("name", "")
    return Event(entry["Action"], entry["Actor"]["ID"], name, attributes, code)


def failure_of(news: Iterable[Mapping[str, Any]]) -> tuple[str, str] | None:
    """Return why a build or pull failed, and a remedy, from its progress messages; None on success.

    Without a known remedy, the remedy is the last lines of a build's output, which contain the
    cause. The progress of a pull (`status`) does not explain a failure.
    """
    lines = tuple(news)
    words = next((str(line["error"]) for line in lines if "error" in line), "")
    if not words:
        return None
    said = [text for line in lines if (text := str(line.get("stream", "")).rstrip())]
    return words, remedy(words) or "\n".join(f"  {text}" for text in said[-LAST_WORDS:])


def moment(nanoseconds: int) -> str:
    """Return a time in nanoseconds since 1970 in the engine's format.

    Whole seconds repeat old events.
    """
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"


def remedy(words: str) -> str:
    """Return the remedy for an error, empty if the engine's message is the best advice."""
    return next((todo for part, todo in REMEDIES if part in words.lower()), "")
