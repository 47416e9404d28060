"""The files and environment of a pod: resolv.conf, hosts, hostname (semantics 1.10, 11.20, 12).

This module computes all text from objects; it reads and writes nothing. Two rules of Kubernetes
surprise:
  - the environment is fixed when a container starts; it lacks a Service that is created later
    (semantics 12.6);
  - Kubernetes replaces `$(NAME)` in env values, command and args, and leaves `$NAME` to a shell;
    `$$(NAME)` escapes; a name that is not defined (yet) stays as written, also PATH and HOSTNAME,
    which no manifest declares.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import msgspec

from netlab.api.config import ConfigMap, Secret
from netlab.api.numbers import is_digits, whole_number
from netlab.api.pods import Container, EnvFromSource, EnvVarSource, Pod, ResourceFieldSelector, ResourceRequirements
from netlab.errors import LabError, printable

HOSTS_HEADER = "# Kubernetes-managed hosts file."
HOST_NETWORK_HEADER = "# Kubernetes-managed hosts file (host network)."
LOCALHOST_LINES = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "fe00::\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
)
ETC_SIZE = 256 * 1024  # the limit in bytes of a pod's resolv.conf, hosts and hostname together (CVE-2020-8557)
INJECTED = ("resolv.conf", "hosts", "hostname")  # the files mounted over /etc in a pod
LONGEST_HOSTNAME = 64  # Linux's own limit (semantics 11.28)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
SURROGATE = re.compile(r"[\ud800-\udfff]")
REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
MAP_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


class ConfigError(LabError):
    """A container cannot be created from its manifest; `reason` is the kubelet's reason."""

    reason: ClassVar[str] = "CreateContainerConfigError"


class UnusableValueError(ConfigError):
    """A value that a container cannot have.

    The kubelet reports it when it creates the container.
    """

    reason: ClassVar[str] = "CreateContainerError"


@dataclass(frozen=True)
class PodFiles:
    """The folder of a pod, `StateDirectory.pod(uid)`, or of a host (only the files for /etc)."""

    folder: Path
    of_host: bool = False

    @property
    def etc(self) -> Path:
        """The folder of resolv.conf, hosts and hostname.

        Containers may write them, up to `ETC_SIZE`.
        """
        return self.folder if self.of_host else self.folder / "etc"

    def environment(self, container: str) -> Path:
        """Return the file with a container's environment (JSON), for `exec`."""
        return self.folder / f"{container}.env"

    def log(self, container: str) -> Path:
        """Return the file with a container's output."""
        return self.folder / f"{container}.log"


@dataclass(frozen=True)
class Sources:
    """The sources of an environment: addresses; ConfigMaps and Secrets by `namespace/name`."""

    pod_ip: str = ""
    host_ip: str = ""
    services: Mapping[str, str] = field(default_factory=dict)
    config_maps: Mapping[str, ConfigMap] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)


class Environment(msgspec.Struct, frozen=True):
    """A container's environment: `given` by image and runtime (PATH, HOME, ...), and `declared`.

    `$(NAME)` refers to declared variables and those of Services only: the kubelet does not have the
    others.
    """

    given: dict[str, str] = {}
    declared: dict[str, str] = {}

    @property
    def whole(self) -> dict[str, str]:
        """The environment of the container's program: a declared variable replaces a given one."""
        return {**self.given, **self.declared}


# ---- files
def fully_qualified_name(pod: Pod, domain: str) -> str:
    """Return `<hostname>.<subdomain>.<ns>.svc.<domain>`, empty for a pod without subdomain (semantics 11.19)."""
    if not pod.spec.subdomain:
        return ""
    return f"{short_hostname(pod)}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}"


def short_hostname(pod: Pod) -> str:
    """Return spec.hostname, else the pod's name, cut to the length of a hostname."""
    return (pod.spec.hostname or pod.metadata.name)[: LONGEST_HOSTNAME - 1].rstrip("-.")


def hostname(pod: Pod, domain: str) -> str:
    """Return what `hostname` prints in the pod.

    Raises ConfigError if it is too long (semantics 11.28).
    """
    if pod.spec.host_network:
        return pod.spec.node_name
    name = fully_qualified_name(pod, domain)
    if not (pod.spec.set_hostname_as_fqdn and name):
        return short_hostname(pod)
    if len(name) > LONGEST_HOSTNAME:
        raise ConfigError(
            f"Failed to construct FQDN from Pod hostname and cluster domain, FQDN {name} is too long "
            f"({LONGEST_HOSTNAME} characters is the max, {len(name)} characters requested)"
        )
    return name


def hosts(pod: Pod, address: str, domain: str) -> str:
    """Return /etc/hosts: localhost, the pod's own names, hostAliases."""
    name = fully_qualified_name(pod, domain)
    own = f"{address}\t{name}\t{short_hostname(pod)}" if name else f"{address}\t{hostname(pod, domain)}"
    header = HOST_NETWORK_HEADER if pod.spec.host_network else HOSTS_HEADER
    lines = [header, *LOCALHOST_LINES, own]
    if pod.spec.host_aliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += ["\t".join((alias.ip, *alias.hostnames)) for alias in pod.spec.host_aliases]
    return "\n".join(lines) + "\n"


# ---- environment
def environment(pod: Pod, container: Container, sources: Sources, *, name: str, base: Mapping[str, str]) -> Environment:
    """Return a container's environment: `base`, services, then envFrom, then env, each overriding the former.

    `name` is the pod's hostname. Raises ConfigError with the kubelet's message if a required
    reference fails, and for a value that no process can have, as Kubernetes does since 1.34: a
    Secret may have any bytes.
    """
    given, found = {**base, "HOSTNAME": name}, dict(sources.services)
    for source in container.env_from:
        found.update(_all_of(pod, source, sources))
    for variable in container.env:
        if variable.value_from is None:
            found[variable.name] = expand(variable.value, found)
        elif (value := _value_from(pod, container, variable.value_from, sources)) is not None:
            found[variable.name] = value
    made = Environment(given, found)
    for key, value in made.whole.items():
        _require_usable(key, value)
    return made


def _require_usable(name: str, value: str) -> None:
    """Refuse a value with a NUL or that is not UTF-8 (its bytes are surrogates here)."""
    if "\0" in name or "\0" in value:
        raise UnusableValueError(f"environment variable {printable(name)}: the value contains a NUL byte")
    if SURROGATE.search(value):
        raise UnusableValueError(
            f"environment variable {printable(name)}: the value is not valid UTF-8; store it encoded, for example as base64"
        )


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)`; an unknown name stays as written, `$$` is a plain dollar sign."""

    def replace(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return "$"
        return variables.get(match.group(1), match.group(0))

    return REFERENCE.sub(replace, text)


def command_line(container: Container, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return command and args with `$(NAME)` replaced."""
    return tuple(expand(word, variables) for word in (*container.command, *container.args))


def _all_of(pod: Pod, source: EnvFromSource, sources: Sources) -> dict[str, str]:
    """Return every key of a ConfigMap or Secret that is a valid name.

    The kubelet skips others, too.
    """
    content: Mapping[str, str] = {}
    if source.config_map_ref:
        content = _content(pod, "configmap", source.config_map_ref.name, sources, optional=source.config_map_ref.optional)
    elif source.secret_ref:
        content = _content(pod, "secret", source.secret_ref.name, sources, optional=source.secret_ref.optional)
    names = {f"{source.prefix}{key}": value for key, value in content.items()}
    return {key: value for key, value in names.items() if ENVIRONMENT_NAME.fullmatch(key)}


def _value_from(pod: Pod, container: Container, source: EnvVarSource, sources: Sources) -> str | None:
    if source.field_ref:
        return downward(pod, source.field_ref.field_path, sources)
    for kind, selector in (("configmap", source.config_map_key_ref), ("secret", source.secret_key_ref)):
        if selector is None:
            continue
        content = _content(pod, kind, selector.name, sources, optional=selector.optional)
        if selector.key not in content and not selector.optional:
            word = "ConfigMap" if kind == "configmap" else "Secret"
            raise ConfigError(f"couldn't find key {selector.key} in {word} {pod.metadata.namespace}/{selector.name}")
        return content.get(selector.key)
    if source.resource_field_ref is not None:
        return _resource(source.resource_field_ref, container)
    return None


def _content(pod: Pod, kind: str, name: str, sources: Sources, *, optional: bool) -> Mapping[str, str]:
    key = f"{pod.metadata.namespace}/{name}"
    if kind == "configmap" and key in sources.config_maps:
        return sources.config_maps[key].data
    if kind == "secret" and key in sources.secrets:
        return {k: _decoded(v) for k, v in sources.secrets[key].data.items()} | sources.secrets[key].string_data
    if optional:
        return {}
    raise ConfigError(f'{kind} "{name}" not found')


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", errors="surrogateescape")
    except (binascii.Error, ValueError):
        return value


def _resource(reference: ResourceFieldSelector, container: Container) -> str:
    """Return a resource limit or request as kubelet prints it without a divisor; unset is 0 here (no capacity known)."""
    kind, _, what = reference.resource.partition(".")
    resources = container.resources or ResourceRequirements()
    amount = {"limits": resources.limits, "requests": resources.requests}.get(kind, {}).get(what, "0")
    return amount if isinstance(amount, str) else f"{amount:.15g}"


FIELDS: dict[str, Callable[[Pod, Sources], str]] = {
    "metadata.name": lambda pod, _: pod.metadata.name,
    "metadata.namespace": lambda pod, _: pod.metadata.namespace,
    "metadata.uid": lambda pod, _: pod.metadata.uid,
    "spec.nodeName": lambda pod, _: pod.spec.node_name,
    "spec.serviceAccountName": lambda pod, _: pod.spec.service_account_name or "default",
    "status.podIP": lambda _, sources: sources.pod_ip,
    "status.podIPs": lambda _, sources: sources.pod_ip,
    "status.hostIP": lambda _, sources: sources.host_ip,
    "status.hostIPs": lambda _, sources: sources.host_ip,
    "metadata.labels": lambda pod, _: _formatted(pod.metadata.labels),
    "metadata.annotations": lambda pod, _: _formatted(pod.metadata.annotations),
}


def downward(pod: Pod, path: str, sources: Sources) -> str:
    """Return a field of the pod for its own environment (the downward API)."""
    if match := MAP_FIELD.fullmatch(path):
        return str(getattr(pod.metadata, match.group(1)).get(match.group(2), ""))
    if path not in FIELDS:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return FIELDS[path](pod, sources)


def _formatted(labels: Mapping[str, str]) -> str:
    return "\n".join(f'{key}="{value}"' for key, value in sorted(labels.items()))


def port_of(container: Container, port: int | str) -> int:
    """Return the number of a port given by number or by name.

    Return 0 if the container does not declare it.
    """
    if isinstance(port, int) or is_digits(port):
        return whole_number(port)
    declared: Sequence[int] = [p.container_port for p in container.ports if p.name == port]
    return declared[0] if declared else 0
