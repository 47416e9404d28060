"""Containers as this project needs them: what to start, what is there, and the door to the engine that has them.

Rules:
1. The engine is asked through the Protocol `Engine` alone. `docker_engine.DockerEngine()` is the real one: it and its parts alone
   import the SDK, which takes 0.1 s, so it is itself imported where an engine is needed. `fake_docker` ships one for tests.
2. Labels are the database: what is whose is found by them, also when every record on disk was lost.
3. Calls block and are made from threads. Those that take many things work on them at the same time: starting a container
   takes the engine a quarter of a second, and it can do several at once.
4. What is wanted may already hold: removing what is gone and signalling what has ended are no errors.
5. A container without a network is not the engine's network `none`: for that, too, the engine keeps a sandbox, and starts itself
   as a hook of the container to enter it, which takes longer than all the rest of a start (85 ms of CPU instead of 37).
   /etc/hosts and /etc/resolv.conf are then empty, ours to bring.
6. The engine must be of this machine: a container's network is reached through /proc/<pid>/ns/net of its process.
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
STATE_LABEL = "netlab/state"  # of a lab's network: the root of records that the lab's own is in

NO_NETWORK = ""  # a network namespace of its own with `lo` alone, which the engine leaves to us
RUNNING, PAUSED = "running", "paused"
WHOSE = (LAB_LABEL, ROLE_LABEL, OWNER_LABEL)  # labels that tell whose a container is
IDLE_STOP_SIGNAL = (
    "SIGKILL"  # the stop signal of what only waits: it would ignore SIGTERM, and an engine that ends would wait ten seconds
)
CONNECTED = "connected"  # the action of the event that says: listening (again); look at everything


@dataclass(frozen=True)
class Mount:
    """A file or folder of the machine, seen in a container."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True)
class ContainerSpec:
    """A container to start. `None` for entrypoint, command and the like: what the image says."""

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
    capabilities: tuple[str, ...] | None = ()  # all others are dropped; None: the engine's default set, as pods have it
    no_new_privileges: bool = True
    sysctls: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    read_only: bool = False
    hostname: str = ""
    stop_signal: str = ""  # what the engine sends first when it is asked to stop it
    processes: int = 0  # at most; 0: as many as there may be
    memory: int = 0  # bytes at most, swap included; 0: as much as there is


@dataclass(frozen=True)
class Container:
    """A container as it is. `pid` is 0 and `exit_code` counts when it does not run."""

    id: str
    name: str
    image: str  # as it was named at the start
    labels: Mapping[str, str]
    state: str  # the engine's words: created running paused restarting removing exited dead
    pid: int = 0
    exit_code: int = 0
    started_at: str = ""
    stop_signal: str = "SIGTERM"  # what its image wants to be ended with
    networks: tuple[str, ...] = ()  # ids of the networks that it is on, or was when it ended

    @property
    def runs(self) -> bool:
        """Whether it has its process, and so its namespaces; one that somebody has paused has."""
        return self.state in {RUNNING, PAUSED}

    @property
    def network_namespace(self) -> str:
        """The path of its network namespace, while it runs."""
        return f"/proc/{self.pid}/ns/net"


def same_owner(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Tell whether two containers with these labels belong to the same."""
    return all(one.get(label) == other.get(label) for label in WHOSE)


@dataclass(frozen=True)
class Event:
    """News of a container: `action` is start, die, destroy (the engine's words), or CONNECTED."""

    action: str
    id: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int = 0


@dataclass(frozen=True)
class NetworkSpec:
    """A bridge network to make, without a way out of the machine. `gateway`: the machine's own address on it."""

    name: str
    subnet: str
    gateway: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """A network as it is."""

    id: str
    name: str
    labels: Mapping[str, str]
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """An image as it is. `size` is that of all its layers, also of those it shares."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    size: int = 0
    created: float = 0.0  # seconds since 1970


class Engine(Protocol):
    """What is asked of a container engine. Raises EngineError with its words, UnsupportedHostError when it does not answer."""

    def start(self, specs: Sequence[ContainerSpec]) -> list[Container]:
        """Create and start containers, all at the same time; returns them as they run, in the order given.

        One that cannot be started is removed again, and its error raised when the others have started. What an earlier attempt
        has left under its name, with the same lab, role and owner, makes way for it: the engine may have gone away before it
        answered, or its container has ended.
        """

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """Return the containers with all these labels, also those that do not run; the value "" is any value."""

    def start_again(self, ids: Sequence[str]) -> list[Container]:
        """Start containers that have ended; returns them as they run, in the order given."""

    def resume(self, ids: Sequence[str]) -> None:
        """Let containers go on that were paused; one that is not is no error."""

    def signal(self, ids: Sequence[str], signal: str) -> None:
        """Send a signal ("SIGTERM") to the main process of containers; one that does not run is no error."""

    def remove(self, ids: Sequence[str]) -> None:
        """End and remove containers with their anonymous volumes; one that is not there is no error."""

    def run(self, container: str, argv: Sequence[str], limit: float) -> tuple[int, str]:
        """Run a command in a container; returns its exit code and what it said.

        One that goes on after `limit` seconds is given up: TimeoutError.
        """

    def logs(self, container: str, *, lines: int | None = None) -> str:
        """Return what a container wrote to stdout and stderr: all of it, or the last `lines`."""

    def events(self, labels: Mapping[str, str], callback: Callable[[Event], None]) -> Callable[[], None]:
        """Have news of containers with these labels told to `callback`, from a thread; returns what ends that.

        Begins with CONNECTED, which comes again when the engine was away for a while.
        """

    def has_image(self, name: str) -> bool:
        """Tell whether an image is there without a registry."""

    def image_id(self, name: str) -> str:
        """Return the identity of an image. Raises EngineError when it is not there."""

    def image_labels(self, name: str) -> Mapping[str, str]:
        """Return the labels of an image. Raises EngineError when it is not there."""

    def find_images(self, labels: Mapping[str, str]) -> list[Image]:
        """Return the images with all these labels; the value "" is any value."""

    def image_user(self, name: str) -> str | None:
        """Return the user that an image runs as, "" for root; None when it is not there."""

    def pull(self, name: str) -> None:
        """Fetch an image from its registry."""

    def import_image(self, archive: str, name: str, labels: Mapping[str, str], command: str) -> None:
        """Make an image of a file system: the path of a tar archive, as `docker import` takes it; `command` is what it runs."""

    def build(self, context: bytes, tag: str, labels: Mapping[str, str]) -> None:
        """Build an image from a context (a tar archive with a Dockerfile) and name it."""

    def remove_image(self, name: str) -> None:
        """Take a name off an image, and the image away with its last name; one that is not there is no error."""

    def create_network(self, spec: NetworkSpec) -> Network:
        """Make a network."""

    def networks(self, labels: Mapping[str, str]) -> list[Network]:
        """Return the networks with all these labels; without labels, all."""

    def remove_network(self, network: str) -> None:
        """Remove a network; one that is not there is no error."""

    def close(self) -> None:
        """Let go of the engine."""
