"""Containers as this project needs them: specifications, states, and the interface of an engine.

Rules:
1. All code uses the Protocol `Engine`. `client.DockerEngine()` is the real one: only it and its
   parts import the SDK, which takes 0.1 s, so callers import it where they need an engine. `fake`
   has one for tests.
2. Labels are the database: they state the owner of everything, even if every record on disk is
   lost.
3. Calls block and are made from threads. Calls with many objects process them in parallel: starting
   a container takes the engine a quarter of a second, and it can start several at the same time.
4. Calls are idempotent: removing a missing object and signaling an ended container succeed.
5. A container without a network does not use the engine's network `none`: for that, too, the engine
   keeps a sandbox, and starts itself as a hook of the container to enter it, which takes longer
   than the rest of a start (85 ms of CPU instead of 37). /etc/hosts and /etc/resolv.conf are then
   empty; netlab provides them.
6. The engine must run on this machine: netlab reaches a container's network through
   /proc/<pid>/ns/net.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

# ---- labels, on every container, network and image
LAB_LABEL = "netlab/lab"
ROLE_LABEL = "netlab/role"  # fabric node edge client sandbox container; of an image: node edge client workloads
OWNER_LABEL = "netlab/owner"  # the name of a host, the uid of a pod
VERSION_LABEL = "netlab/version"
STATE_LABEL = "netlab/state"  # on a lab's network: the root of records that contains the lab's record

NO_NETWORK = ""  # a separate network namespace with `lo` only, which netlab wires
RUNNING, PAUSED = "running", "paused"
WHOSE = (LAB_LABEL, ROLE_LABEL, OWNER_LABEL)  # labels that identify the owner of a container
IDLE_STOP_SIGNAL = "SIGKILL"  # for programs that only wait: they ignore SIGTERM, and the engine would wait ten seconds
CONNECTED = "connected"  # the action of the event after each (re)connection: check everything


@dataclass(frozen=True)
class Mount:
    """A file or folder of the machine that a container mounts."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True)
class ContainerSpec:
    """A container to start.

    `None` for entrypoint, command and similar fields: the image's value.
    """

    name: str
    image: str
    labels: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = ""
    user: str = ""
    network: str = NO_NETWORK  # or the name of a network, or `container:<id>`: that container's
    address: str = ""  # IPv4 on a named network; empty: the engine chooses
    capabilities: tuple[str, ...] | None = ()  # all others are dropped; None: the engine's default set, as for pods
    no_new_privileges: bool = True
    sysctls: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    read_only: bool = False
    hostname: str = ""
    stop_signal: str = ""  # the first signal that the engine sends to stop it
    processes: int = 0  # the limit; 0: no limit
    memory: int = 0  # the limit in bytes, swap included; 0: no limit


@dataclass(frozen=True)
class Container:
    """The state of a container. If it does not run, `pid` is 0 and `exit_code` is valid."""

    id: str
    name: str
    image: str  # the name given at the start
    labels: Mapping[str, str]
    state: str  # the engine's states: created running paused restarting removing exited dead
    pid: int = 0
    exit_code: int = 0
    started_at: str = ""
    stop_signal: str = "SIGTERM"  # the stop signal of its image
    networks: tuple[str, ...] = ()  # ids of its networks, or of those it had when it ended

    @property
    def runs(self) -> bool:
        """Whether it has a process, and so its namespaces; a paused container has them."""
        return self.state in {RUNNING, PAUSED}

    @property
    def network_namespace(self) -> str:
        """The path of its network namespace, while it runs."""
        return f"/proc/{self.pid}/ns/net"


def same_owner(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return whether two containers with these labels have the same owner."""
    return all(one.get(label) == other.get(label) for label in WHOSE)


@dataclass(frozen=True)
class Event:
    """An event of a container: `action` is start, die, destroy (the engine's), or CONNECTED."""

    action: str
    id: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int = 0


@dataclass(frozen=True)
class NetworkSpec:
    """A bridge network to create, without external access.

    `gateway`: the machine's address on it.
    """

    name: str
    subnet: str
    gateway: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """The state of a network."""

    id: str
    name: str
    labels: Mapping[str, str]
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """An image in the engine's store. `size` includes all its layers, also shared ones."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    size: int = 0
    created: float = 0.0  # seconds since 1970


class Engine(Protocol):
    """A container engine.

    Raises EngineError with its message, UnsupportedHostError without an answer.
    """

    def start(self, specs: Sequence[ContainerSpec]) -> list[Container]:
        """Create and start containers in parallel; return their states in the given order.

        A container that cannot be started is removed, and its error is raised after the others have
        started. A leftover of an earlier attempt with the same name, lab, role and owner is
        replaced: the engine may have stopped before it answered, or the container has ended.
        """

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """Return the containers with all these labels, running or not.

        The value "" matches any value.
        """

    def start_again(self, ids: Sequence[str]) -> list[Container]:
        """Start containers that have ended; return their states in the given order."""

    def resume(self, ids: Sequence[str]) -> None:
        """Resume paused containers; ignore others."""

    def signal(self, ids: Sequence[str], signal: str) -> None:
        """Send a signal ("SIGTERM") to the main process of containers.

        Ignore those that do not run.
        """

    def remove(self, ids: Sequence[str]) -> None:
        """Kill and remove containers with their anonymous volumes; ignore missing ones."""

    def run(self, container: str, argv: Sequence[str], limit: float) -> tuple[int, str]:
        """Run a command in a container; return its exit code and output.

        Raises TimeoutError after `limit` seconds.
        """

    def logs(self, container: str, *, lines: int | None = None) -> str:
        """Return the output of a container, stdout and stderr: all of it, or the last `lines`."""

    def events(self, labels: Mapping[str, str], callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` from a thread for events of these containers; return a stop function.

        The first event is CONNECTED, which is repeated after every reconnection to the engine.
        """

    def has_image(self, name: str) -> bool:
        """Return whether the engine's store has an image."""

    def image_id(self, name: str) -> str:
        """Return the identity of an image. Raises EngineError if it is missing."""

    def image_labels(self, name: str) -> Mapping[str, str]:
        """Return the labels of an image. Raises EngineError if it is missing."""

    def find_images(self, labels: Mapping[str, str]) -> list[Image]:
        """Return the images with all these labels; the value "" matches any value."""

    def image_user(self, name: str) -> str | None:
        """Return the user that an image runs as, "" for root; None if it is missing."""

    def pull(self, name: str) -> None:
        """Pull an image from its registry."""

    def import_image(self, archive: str, name: str, labels: Mapping[str, str], command: str) -> None:
        """Create an image from the tar archive of a file system, as `docker import` does."""

    def build(self, context: bytes, tag: str, labels: Mapping[str, str]) -> None:
        """Build an image from a context (a tar archive with a Dockerfile) and name it."""

    def remove_image(self, name: str) -> None:
        """Remove a name of an image, and the image with its last name; ignore a missing one."""

    def create_network(self, spec: NetworkSpec) -> Network:
        """Create a network."""

    def networks(self, labels: Mapping[str, str]) -> list[Network]:
        """Return the networks with all these labels; without labels, all."""

    def remove_network(self, network: str) -> None:
        """Remove a network; ignore a missing one."""

    def close(self) -> None:
        """Close the connection to the engine."""
