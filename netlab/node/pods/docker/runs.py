"""The state of runs in runtime `docker`: values that each event of the engine changes (pure).

    what has happened to a run                     its event
    its container has started, and listens         Began
    its container could not be started             Refused; Ended when only its program could not
    its container has died, or does not exist      Ended

`ContainerRun` is a run that the kubelet asked for. `due` alone decides which events follow, so the
order in which the engine's answer, its event and the server's own report arrive does not matter.
Ends are noted by container: an earlier attempt at the same run may leave one whose end is not the
run's.

`AdoptedContainers` are those that an earlier daemon left, until the kubelet asks for their runs: by
`take_over` if the API's status has the run, by `start` if the daemon died before it wrote that.
Until then the engine's events only change their recorded state. A server reports once that it
listens, to the daemon that runs then. One whose beginning was not written down may have reported to
the dead daemon, or be about to report: it is started again. No traffic is sent to it yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from netlab.containment import describe
from netlab.engine.protocol import Container, Event
from netlab.errors import EngineError, NetlabError
from netlab.node.pods.docker.containers import SERVER_LABEL, STOP_SIGNALS, key_of
from netlab.node.pods.images import ImageUnavailableError
from netlab.node.pods.runtime import Began, Ended, Place, Refused, Run, RunKey, Stop
from netlab.process.podfiles import ConfigError

CANNOT_RUN = "OCI runtime create failed"  # the program does not exist, for example,
CANNOT_RUN_CODE = 128  # and the exit code that Kubernetes shows then
# The engine's messages about a container that it can never make. All else passes: the engine is away,
# the pod's network namespace was lost, an image was removed this moment.
NEVER_CODE = 400
NEVER_WORDS = ("unable to find user", "unable to find group", "is not a directory")  # code 500


@dataclass
class ContainerRun:
    """The recorded state of a run."""

    run: Run
    container: Container | None = None  # once the engine has started it
    listens: bool = False  # a server has reported it
    began: bool = False  # the event was returned
    ends: dict[str, int | None] = field(default_factory=dict)  # container id -> exit code, if known
    step: Stop | None = None  # how firmly it was asked to end

    @property
    def is_server(self) -> bool:
        """Whether a built-in workload runs in its container."""
        return self.container is not None and bool(self.container.labels.get(SERVER_LABEL))

    @property
    def is_over(self) -> bool:
        """Whether its container has ended."""
        return self.container is not None and self.container.id in self.ends

    def due(self) -> list[Began | Ended]:
        """Return the events that follow from the recorded state. After `Ended` there are no more."""
        if self.container is None:
            return []
        events: list[Began | Ended] = []
        if not self.began and (self.is_over or self.listens or not self.is_server):
            self.began = True
            identity = f"docker://{self.container.id}"
            events.append(Began(self.run.key, identity, self.container.image))
        if self.is_over:
            events.append(Ended(self.run.key, self.ends[self.container.id]))
        return events

    def signal(self) -> str:
        """Return the signal of the step that it was asked for; "" if there is none (yet)."""
        container, step = self.container, self.step
        if container is None or step is None or self.is_over:
            return ""
        if step is Stop.KILL or (self.is_server and self.began):
            return STOP_SIGNALS[step]
        return container.stop_signal if step is Stop.END and self.began else ""


class AdoptedContainers:
    """The containers that an earlier daemon left, at most one for each place."""

    def __init__(self) -> None:
        self._containers: dict[Place, Container] = {}

    def add(self, container: Container) -> list[str]:
        """Keep the newest run of a place; returns the id of another one."""
        place, number = key_of(container.labels).place, key_of(container.labels).number
        other = self._containers.get(place)
        if other and key_of(other.labels).number > number:
            return [container.id]
        self._containers[place] = container
        return [other.id] if other and other.id != container.id else []

    def get(self, place: Place) -> Container | None:
        """Return what was left at a place."""
        return self._containers.get(place)

    def take(self, place: Place) -> Container | None:
        """Return what was left at a place, and forget it."""
        return self._containers.pop(place, None)

    def handle(self, event: Event) -> bool:
        """Note an event of the engine; return whether it is about one of these."""
        place = key_of(event.labels).place
        known = self._containers.get(place)
        if known is None or known.id != event.id:
            return False
        if event.action == "die":
            self._containers[place] = replace(known, state="exited", exit_code=event.exit_code)
        elif event.action == "destroy":
            del self._containers[place]
        return True

    def forget(self, uid: str) -> None:
        """Forget a pod whose containers have been removed."""
        for place in [place for place in self._containers if place[0] == uid]:
            del self._containers[place]


def start_failure(key: RunKey, error: Exception) -> Refused | Ended:
    """Return the event of a run whose container could not be started, with kubelet's reason."""
    if isinstance(error, ImageUnavailableError | ConfigError):
        return Refused(key, error.reason, str(error))
    if not isinstance(error, NetlabError):
        return Refused(key, "CreateContainerError", describe(error))
    if CANNOT_RUN in error.message:
        return Ended(key, CANNOT_RUN_CODE, error.message)
    reason = "CreateContainerError" if _is_final(error) else "RunContainerError"
    return Refused(key, reason, str(error))


def _is_final(error: NetlabError) -> bool:
    """Return whether the engine refuses a container of this manifest whenever it is asked."""
    if not isinstance(error, EngineError):
        return False
    return error.code == NEVER_CODE or any(words in error.message for words in NEVER_WORDS)
