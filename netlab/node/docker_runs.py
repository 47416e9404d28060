"""Runs of containers in runtime `docker`: what is known of each, what it is asked, and the news of it.

    what comes to pass                               news
    its container has been started, and listens      Began
    its container could not be started               Refused
    its container has died, or is not there          Ended

`Tracked` is a run as far as it is known, and `_progress` the one place where news of it are told: so it makes no
difference in which order the engine's answer, its event and the server's own word arrive. Ends are noted by container: what
an earlier attempt at the same run has left is removed, and its end is not the run's.

The container of an ended run stays, for its log, until the next one runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from netlab.api.pods import Container
from netlab.containment import Contained, describe
from netlab.errors import EngineError, NetlabError
from netlab.node.builtin import builtin_of
from netlab.node.docker_containers import SERVER_LABEL, STOP_SIGNALS, key_of
from netlab.node.docker_found import Found, goes_on, is_unheard
from netlab.node.docker_start import Starter
from netlab.node.docker_work import Work
from netlab.node.pod_images import ImageUnavailableError
from netlab.node.pod_runtime import Began, Ended, Place, PodEvent, Refused, Run, RunKey, Stop
from netlab.node.podfiles import ConfigError
from netlab.runtime import docker
from netlab.runtime.docker import Engine, Event

CANNOT_RUN, CANNOT_RUN_CODE = "OCI runtime create failed", 128  # the program is not there, say; the code that Kubernetes shows
# What the engine says of a container that cannot be made, whenever it is asked. All else passes: the engine is away, the pod's
# network namespace was lost, an image was removed this moment.
NEVER_CODE = 400
NEVER_WORDS = ("unable to find user", "unable to find group", "is not a directory")  # with the code 500

log = logging.getLogger("netlab.node")


def refused_for_good(error: NetlabError) -> bool:
    """Tell whether a container of this manifest cannot be made, whenever the engine is asked."""
    return isinstance(error, EngineError) and (error.code == NEVER_CODE or any(words in error.message for words in NEVER_WORDS))


@dataclass
class Tracked:
    """A run as far as it is known."""

    run: Run
    container: docker.Container | None = None  # once the engine has started it
    listens: bool = False  # a server has said so
    began: bool = False  # has been told
    ends: dict[str, int | None] = field(default_factory=dict)  # of containers of this run, by id: exit codes, None: nobody knows
    step: Stop | None = None  # how firmly it is asked to end

    @property
    def server(self) -> str:
        return self.container.labels.get(SERVER_LABEL, "") if self.container else ""

    @property
    def over(self) -> bool:
        return self.container is not None and self.container.id in self.ends

    @property
    def works(self) -> bool:
        """Whether it does what it is for: a program runs, a server listens."""
        return self.container is not None and (self.listens or not self.server)


class Runs:
    """The runs of one lab, at most one for each place; `found` is what an earlier daemon left."""

    def __init__(self, *, engine: Engine, work: Work, starter: Starter, found: Found, tell: Callable[[PodEvent], None]) -> None:
        self._engine = engine
        self._work = work
        self._starter = starter
        self._found = found
        self._tell = tell
        self._tracked: dict[Place, Tracked] = {}
        self._old: dict[Place, list[str]] = {}  # ids of ended runs' containers

    def get(self, place: Place) -> Tracked | None:
        """Return the run of a place."""
        return self._tracked.get(place)

    def serves_on(self, uid: str, container: Container) -> bool:
        """A built-in workload does, where netlab's image stands in for the one that is named."""
        tracked = self._tracked.get((uid, container.name))
        return bool(tracked.server if tracked and tracked.container else builtin_of(container))

    # ---- begins
    def begin(self, run: Run) -> None:
        """Have a run begin: by a container of its own, or by the one that an earlier daemon started and did not write down."""
        tracked = self._tracked[run.key.place] = Tracked(run)
        found = self._found.take(run.key.place)
        if found and goes_on(found, run) and not is_unheard(found):
            self._go_on(tracked, found)
        else:
            self._work.begin(run.key.uid, self._begin(tracked, found), f"start {run.container.name}")

    async def _begin(self, tracked: Tracked, found: docker.Container | None) -> None:
        """Start a run's container, after what is left of an older one."""
        run = tracked.run
        with Contained() as attempt:
            await self._work.call(self._engine.remove, [found.id] if found else [])
            tracked.container = await self._starter.start(run)
        if attempt.error is not None:
            self._not_begun(tracked, attempt.error)
            return
        old = tuple(self._old.get(run.key.place, ()))
        self._progress(tracked)
        await self._work.attempt(self._remove_old(run.key.place, old))

    def _not_begun(self, tracked: Tracked, error: Exception) -> None:
        """Tell why a run could not begin, in kubelet's words; what nobody expected is that run's, too."""
        key = tracked.run.key
        if isinstance(error, ImageUnavailableError | ConfigError):
            self._refuse(tracked, error.reason, str(error))
        elif not isinstance(error, NetlabError):
            log.error("uid=%s container=%s start=broken", key.uid, key.container, exc_info=error)
            self._refuse(tracked, "CreateContainerError", describe(error))
        elif CANNOT_RUN in error.message:
            self._tracked.pop(key.place, None)
            self._tell(Ended(key, CANNOT_RUN_CODE, error.message))
        else:
            self._refuse(tracked, "CreateContainerError" if refused_for_good(error) else "RunContainerError", str(error))

    async def _remove_old(self, place: Place, old: Sequence[str]) -> None:
        """Remove ended runs' containers; those that the engine keeps go with the next run."""
        await self._work.call(self._engine.remove, old)
        left = [container for container in self._old.pop(place, ()) if container not in old]
        if left:
            self._old[place] = left

    def _refuse(self, tracked: Tracked, reason: str, message: str) -> None:
        self._tracked.pop(tracked.run.key.place, None)
        self._tell(Refused(tracked.run.key, reason, message))

    def take_over(self, run: Run) -> Ended | None:
        """Go on with a run that an earlier daemon started, or that goes on since a moment ago."""
        place = run.key.place
        if (tracked := self._tracked.get(place)) and tracked.run.key == run.key:
            return None
        found = self._found.get(place)
        if found is None:
            return Ended(run.key, None, "The container was removed while the lab's daemon was not running.")
        if not goes_on(found, run):
            return Ended(run.key, None, "The container ended while the lab's daemon was not running.")
        self._found.take(place)
        if found.runs:
            tracked = self._tracked[place] = Tracked(run, began=True)
            self._go_on(tracked, found)
            return None
        self._old.setdefault(place, []).append(found.id)
        return Ended(run.key, found.exit_code)

    def _go_on(self, tracked: Tracked, found: docker.Container) -> None:
        tracked.container, tracked.listens = found, True
        if not found.runs:
            tracked.ends[found.id] = found.exit_code
        self._progress(tracked)

    # ---- is asked to end
    def stop(self, key: RunKey, step: Stop) -> None:
        """Ask a run to end; one that nobody knows is over."""
        tracked = self._tracked.get(key.place)
        if tracked is not None and tracked.run.key == key:
            self._ask(tracked, step)
        elif step is Stop.KILL:
            self._tell(Ended(key, None))

    def kill(self, concerned: Callable[[Run], bool]) -> None:
        """Kill the runs that this is true of."""
        for tracked in tuple(self._tracked.values()):
            if concerned(tracked.run):
                self._ask(tracked, Stop.KILL)

    def _ask(self, tracked: Tracked, step: Stop) -> None:
        tracked.step = step
        self._signal(tracked)

    def _signal(self, tracked: Tracked) -> None:
        """Send what a run's step means to it. One that has not begun gets it when it does."""
        container, step = tracked.container, tracked.step
        if container is None or step is None or tracked.over or not (tracked.began or step is Stop.KILL):
            return
        signal = STOP_SIGNALS[step] if tracked.server or step is not Stop.END else container.stop_signal
        if tracked.server or step is not Stop.DRAIN:
            work = self._work.call(self._engine.signal, [container.id], signal)
            self._work.begin(tracked.run.key.uid, self._work.attempt(work), f"signal {container.name}")

    def forget(self, uid: str) -> None:
        """Forget a pod whose containers have been removed."""
        for known in (self._tracked, self._old):
            for place in [place for place in known if place[0] == uid]:
                del known[place]
        self._found.forget(uid)

    # ---- what happens
    def happened(self, event: Event, *, leaving: bool) -> None:
        """Take in news of a container; `leaving`: all of its pod's are being removed."""
        key = key_of(event.labels)
        tracked = self._tracked.get(key.place)
        current = tracked is not None and tracked.run.key == key
        if self._found.happened(event):
            return
        if event.action == "start":
            if not current and not leaving:  # somebody started an ended run again
                work = self._work.call(self._engine.remove, [event.id])
                self._work.begin(key.uid, self._work.attempt(work), f"remove {event.name}")
        elif tracked is not None and current:
            tracked.ends.setdefault(event.id, event.exit_code if event.action == "die" else None)
            self._progress(tracked)

    @property
    def ids(self) -> set[str]:
        """The containers of the runs."""
        return {tracked.container.id for tracked in self._tracked.values() if tracked.container}

    def compare(self, present: Mapping[str, docker.Container], known: Collection[str]) -> None:
        """Take in which containers there are, by id; `known` are those whose absence means something."""
        for tracked in tuple(self._tracked.values()):
            if tracked.container is None or tracked.over or tracked.container.id not in known:
                continue
            now = present.get(tracked.container.id)
            if now is None or not now.runs:
                tracked.ends[tracked.container.id] = now.exit_code if now else None
                self._progress(tracked)

    def listens(self, key: RunKey) -> None:
        """Take in that a server listens."""
        tracked = self._tracked.get(key.place)
        if tracked is not None and tracked.run.key == key:
            tracked.listens = True
            self._progress(tracked)

    def _progress(self, tracked: Tracked) -> None:
        """Tell what has become of a run, once all that belongs to it is known."""
        key, container = tracked.run.key, tracked.container
        if container is None:
            return
        if not tracked.began and (tracked.works or tracked.over):
            tracked.began = True
            self._tell(Began(key, f"docker://{container.id}", container.image))
            self._signal(tracked)
        if tracked.over:
            code = tracked.ends[container.id]
            if code is not None:
                self._old.setdefault(key.place, []).append(container.id)
            self._tracked.pop(key.place, None)
            self._tell(Ended(key, code))
