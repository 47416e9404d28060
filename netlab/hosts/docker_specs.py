"""The container of each host of a lab: its image, its capabilities, its files. Pure.

    role     capabilities                     why
    fabric   none                             holds the bridges; the daemon programs them from outside
    client   NET_RAW, SETUID, SETGID, KILL    tcpdump: packet sockets, then it drops root; KILL ends it
    edge     those, NET_ADMIN,                addresses, rules; DNS on port 53
             NET_BIND_SERVICE
    node     the edge's                       links, routes, rules; DNS on port 53

Node and edge run their agent. It gets, read-only: its arguments, the lab, the lab's authority, and
its own token only. Every container has its /etc/hosts, resolv.conf and hostname from the lab. All
but the fabric's are created without a network; the daemon writes settings (sysctls) from outside,
so /proc/sys stays read-only in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netlab import __version__
from netlab.dataplane.fabric import Host, Role
from netlab.dataplane.names import FABRIC
from netlab.engine.protocol import (
    IDLE_STOP_SIGNAL,
    LAB_LABEL,
    NO_NETWORK,
    OWNER_LABEL,
    ROLE_LABEL,
    VERSION_LABEL,
    ContainerSpec,
    Mount,
)

FABRIC_ROLE = "fabric"
HOST_ROLES = (FABRIC_ROLE, *(role.value for role in Role))
PACKETS = ("NET_RAW", "SETUID", "SETGID", "KILL")
CAPABILITIES: dict[str, tuple[str, ...]] = {
    FABRIC_ROLE: (),
    Role.NODE.value: ("NET_ADMIN", *PACKETS, "NET_BIND_SERVICE"),
    Role.EDGE.value: ("NET_ADMIN", *PACKETS, "NET_BIND_SERVICE"),
    Role.CLIENT.value: PACKETS,
}
IMAGES = {FABRIC_ROLE: Role.CLIENT.value}  # roles without a separate image -> the role whose image they use
WITH_AGENT = (Role.NODE, Role.EDGE)
WAIT = ("sleep", "infinity")
GIVEN = "/run/netlab"  # the folder in a container with the files of its agent
ARGUMENTS, LAB, AUTHORITY, TOKEN = (f"{GIVEN}/{name}" for name in ("arguments.json", "lab.json", "ca.crt", "token"))
ETC = ("hosts", "resolv.conf", "hostname")
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "1",
    "SSL_CERT_FILE": "/dev/null",  # only the lab's own authority is trusted
    "SSL_CERT_DIR": "/dev/null",
}


@dataclass(frozen=True)
class Given:
    """Files of the machine for a host's container; a token if it has an agent."""

    folder: str
    lab_file: str
    authority: str
    token: str = ""


def container_name(lab: str, host: str) -> str:
    """Return the name of a host's container: `netlab_quickstart_node1`."""
    return f"netlab_{lab}_{host}"


def labels(lab: str, role: str, owner: str) -> dict[str, str]:
    """Return the labels that state the owner of a container."""
    return {LAB_LABEL: lab, ROLE_LABEL: role, OWNER_LABEL: owner, VERSION_LABEL: __version__}


def fabric_spec(lab: str, images: Mapping[str, str], network: str, address: str) -> ContainerSpec:
    """Return the container with the bridges: it runs no server."""
    return ContainerSpec(
        name=container_name(lab, FABRIC),
        image=images[IMAGES[FABRIC_ROLE]],
        labels=labels(lab, FABRIC_ROLE, FABRIC),
        entrypoint=WAIT,
        command=(),
        network=network,
        address=address,
        read_only=True,
        hostname=FABRIC,
        stop_signal=IDLE_STOP_SIGNAL,
    )


def host_spec(lab: str, host: Host, images: Mapping[str, str], given: Given) -> ContainerSpec:
    """Return the container of an edge, a node or a client; its image names the program."""
    role = host.role.value
    return ContainerSpec(
        name=container_name(lab, host.name),
        image=images[role],
        labels=labels(lab, role, host.name),
        environment=ENVIRONMENT if given.token else {},
        network=NO_NETWORK,
        capabilities=CAPABILITIES[role],
        mounts=(*_etc(given), *(_agent_files(given) if given.token else ())),
        hostname=host.name,
    )


def _etc(given: Given) -> Sequence[Mount]:
    return [Mount(f"{given.folder}/{name}", f"/etc/{name}") for name in ETC]


def _agent_files(given: Given) -> Sequence[Mount]:
    arguments = f"{given.folder}/{ARGUMENTS.rpartition('/')[2]}"
    sources = {ARGUMENTS: arguments, LAB: given.lab_file, AUTHORITY: given.authority, TOKEN: given.token}
    return [Mount(source, target) for target, source in sources.items()]


def agent_arguments(lab: str, host: Host, server: str) -> dict[str, str]:
    """Return the arguments of an agent as it finds them in its container."""
    common = {"lab": lab, "lab_file": LAB, "server": server, "ca": AUTHORITY, "token": TOKEN}
    return {**common, "node": host.name} if host.role is Role.NODE else common
