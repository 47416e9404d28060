"""The interface between kubelet and runtime: network namespaces for pods, and runs of containers in them.

Theory. The kubelet runs a pod's life: order, restarts and back-off, readiness, grace (`kubelet_pods`). How a
container is run depends on the runtime: `netns_pods` has processes and built-in servers, `docker_pods` containers.

    in a round        start, stop, release      noted or begun, without waiting
    at its end        carry_out                 all together: an engine starts ten as fast as two
    at any time       events to the listener    began, ended, refused, a sandbox was lost

A `Run` is one start of one container; a restart is another run with the next number. `start` makes
sure that a run exists: one that an earlier daemon started, and died before it wrote that down, is
taken over. An event of another run than the container's present one is out of date. Every run that
began ends with exactly one `Ended`; if it ends at once, that event may precede its `Began`.

Stopping has steps, taken one at a time: DRAIN (send clients away, continue to serve), END (finish what is being served),
KILL. A command has no DRAIN.

`tests/podcontract.py` holds what every runtime promises; `pod_runtime_fake` is the one for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from netlab.api.pods import Container, Pod
from netlab.node.pods.readiness import Result
from netlab.process.podfiles import Environment, PodFiles

KILLED = 137  # the exit code of a process that SIGKILL ended
LONGEST_OUTPUT = 200  # characters of a failed probe's output that its message has
STARTING = "its sandbox is being started"  # why a pod has no namespace yet where that is not a failure
SANDBOX_REFUSED = "FailedCreatePodSandBox"  # begins the problem of a pod whose namespace's path holds what the lab did not make
Place = tuple[str, str]  # uid and container: whichever of its runs


class RunKey(NamedTuple):
    """Which run of which container of which pod."""

    uid: str
    container: str
    number: int

    @property
    def place(self) -> Place:
        """The container, whichever of its runs."""
        return self.uid, self.container


@dataclass(frozen=True)
class Run:
    """One start of one container. `namespace` is the path of the network namespace it belongs into."""

    pod: Pod
    container: Container
    number: int
    namespace: str
    address: str
    files: PodFiles
    environment: Environment = field(default_factory=Environment)

    @property
    def key(self) -> RunKey:
        return RunKey(self.pod.metadata.uid, self.container.name, self.number)


class Stop(IntEnum):
    """How firmly a run is asked to end."""

    DRAIN = 1
    END = 2
    KILL = 3


@dataclass(frozen=True)
class Began:
    """A run is there. `identity` and `image` are what the API shows as containerID and imageID; "" leaves them to the kubelet."""

    key: RunKey
    identity: str = ""
    image: str = ""


@dataclass(frozen=True)
class Ended:
    """A run is over. `code` is None when it is unknown."""

    key: RunKey
    code: int | None
    message: str = ""


@dataclass(frozen=True)
class Refused:
    """A run could not begin, for a reason in Kubernetes' words; it is tried again later."""

    key: RunKey
    reason: str
    message: str


@dataclass(frozen=True)
class SandboxLost:
    """A pod's namespace is not that of its containers any more: it is recreated."""

    uid: str


@dataclass(frozen=True)
class Changed:
    """Something else has changed: a pod's namespace has come, nothing of a pod is left; without uid, `settled`."""

    uid: str = ""


PodEvent = Began | Ended | Refused | SandboxLost | Changed


def stopped_early(key: RunKey) -> Refused:
    """Return the event of a run that was asked to end before it began."""
    return Refused(key, "ContainerCreating", "the pod is being deleted")


def command_result(code: int | None, output: str) -> Result:
    """Return what a probe's command has shown; a failure has the end of its output."""
    if code == 0:
        return Result(success=True)
    return Result(success=False, message=output.strip()[-LONGEST_OUTPUT:] or f"exit code {code}")


def command_timed_out(argv: Sequence[str], limit: float) -> Result:
    """Return what a probe has shown whose command runs longer than `limit` seconds."""
    return Result(success=False, message=f"command {argv[0]!r} timed out after {limit:g}s")


class PodRuntime(Protocol):
    """Runs containers. Except where stated, methods are called in the event loop and return at once.

    `environment` is what every container's environment begins with.
    """

    environment: Mapping[str, str]

    def subscribe(self, listener: Callable[[PodEvent], None]) -> None:
        """Call `listener` with every event, in the event loop."""

    async def run(self) -> None:
        """Follow what happens to the containers, until cancelled."""

    async def recall(self, known: Collection[Place]) -> None:
        """Find what an earlier daemon left, before anything else; what belongs to no known (uid, container) is removed."""

    def make_namespaces(self, pods: Mapping[str, Pod]) -> Mapping[str, str]:
        """Make the network namespaces that are missing; the keys are their paths. Called in a thread.

        Returns why a pod (by uid) has none yet; a `Changed` event reports when that may change.
        """

    def serves_on(self, uid: str, container: Container) -> bool:
        """Return whether a container of a pod, when that is terminating, serves until no rule leads to it any more."""

    def start(self, run: Run) -> None:
        """Have a run begin at the end of this round."""

    def take_over(self, run: Run) -> Ended | None:
        """Continue a run that an earlier daemon started; returns its end if it is over."""

    def stop(self, key: RunKey, step: Stop) -> None:
        """Ask a run to end. One that has not begun is refused, an unknown one is over."""

    def release(self, uid: str) -> None:
        """End whatever runs for a pod, at once, and forget it."""

    def holds(self, uid: str) -> bool:
        """Return whether something of a released pod is still there."""

    async def carry_out(self, nodes: Collection[str]) -> None:
        """Begin what was asked for in this round. `nodes` are the nodes there are."""

    async def probe(self, run: Run, argv: tuple[str, ...], limit: float) -> Result:
        """Run a command in a container; success is exit code 0 within `limit` seconds."""

    def look_again(self) -> None:
        """Compare with what there is: events may be late or lost. It is not settled until then."""

    def settled(self) -> list[str]:
        """Return a sentence for what the runtime itself still waits for."""
