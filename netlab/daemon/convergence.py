"""Whether everything that was asked for is in place, and what is still being waited for, in sentences.

Theory. A change of an object is in place when the controllers have nothing left to do about it, the kubelet's pods have
settled, and every agent (and the edge) says in its Lease up to which resourceVersion of each kind its kernel holds the
rules. The store knows the newest change of each kind, deletions included; comparing the two needs no guess and no sleep:
whoever waits is woken by the next change of an object, and by the end of a round of controllers, hosts or kubelet, which
may settle something without changing any object (a pod that was not ready and now is known not to get ready).

What a host or container has become outside, an engine tells, perhaps late. Who changes a lab that runs wants to know what is,
not what was known: then hosts and pods are looked at once more, and until that is done they are not in place. Agents and edge
are asked to look at their kernel by an annotation of the Lab; a Lease that has come up to that Lab says that its holder has.

An agent that is behind may have failed at a part of its work; its Lease says which and why, and so does the sentence. What an
agent left out although all the rest is in place is a note.

That is several hundred looks while a lab comes up, each at everything, so a look must cost little: an object is decoded once
(a stored body never changes, and every change has a version of its own), and what costs most to find out is asked last, when
everything else is in place (when an agent was started is a question to the machine).

An object that cannot be read, or that its controller or kubelet cannot follow, is a note and not waited for: it can go no
further by itself, and the notes name it and say why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import msgspec

from netlab.api.coordination import Lease
from netlab.api.discovery import Endpoint
from netlab.api.meta import Object
from netlab.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, LABS, LEASES, NAMESPACES, NODES, PODS, SERVICES, Resource
from netlab.api.services import Service
from netlab.api.wellknown import EDGE_LEASE, node_lease
from netlab.containment import Containment
from netlab.controlplane.lease import holder_identity
from netlab.controlplane.left_out import told_problems
from netlab.controlplane.manager import Manager
from netlab.controlplane.status import AnyResource
from netlab.controlplane.store import Store
from netlab.daemon.hosts import LabController
from netlab.dataplane.names import EDGE
from netlab.edge.frontends import frontends, is_ours
from netlab.family import Family

log = logging.getLogger("netlab.daemon")
Kind = TypeVar("Kind", bound=Object)
NODE_KINDS = (SERVICES, ENDPOINT_SLICES, NODES, CONFIG_MAPS, NAMESPACES)
PATIENCE = 3.0  # seconds for what may never come: a node whose backend does not listen is never healthy
EDGE_KINDS = (SERVICES, ENDPOINT_SLICES, NODES, CONFIG_MAPS)


class Settling(Protocol):
    """Part of the daemon that may still be at work (the kubelet)."""

    @property
    def listeners(self) -> set[asyncio.Event]:
        """Events to set whenever it has done something, even if no object changed by it."""

    def settled(self) -> list[str]:
        """Return a sentence for each thing that is not settled yet."""

    def look_at_everything(self) -> None:
        """Look at what there is, whatever was told; until that is done it is not settled."""

    def notes(self) -> list[str]:
        """Return a sentence for each thing that is settled in a way the user should know."""


@dataclass(frozen=True)
class Report:
    """How far things are: `waiting` is what must come, `lagging` what may never come and is waited for only a while."""

    done: int
    total: int
    waiting: tuple[str, ...] = ()
    lagging: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    expired: bool = False  # the time for waiting is over: this is the last report

    def encode(self) -> bytes:
        """Return the report as one JSON line."""
        body = {
            "converged": not (self.waiting or self.lagging),
            "done": self.done,
            "total": self.total,
            "waiting": (*self.waiting, *self.lagging),
            "notes": self.notes,
            "expired": self.expired,
        }
        return msgspec.json.encode(body) + b"\n"


class Farthest:
    """What is counted for who watches: how far things have been, so that no count goes back.

    Things are in place more than once: an agent is behind again whenever an endpoint comes, a pod that leaves is no longer waited
    for. What has been in place stays counted, and what is gone counts as done. What is waited for is told as it is.
    """

    def __init__(self) -> None:
        self._done = self._total = 0

    def counted(self, report: Report) -> Report:
        """Return a report with the counts to show."""
        self._total = max(self._total, report.total)
        self._done = max(self._done, self._total - len(report.waiting))
        return replace(report, done=self._done, total=self._total)


async def _nobody() -> int:
    """Ask nobody to look."""
    return 0


class Convergence:
    """Looks at a lab's store and its parts.

    `ask_agents` asks agents and edge to look at their kernel, and returns the version of the Lab that does. `machine` returns a
    sentence for each thing that is wrong with the machine.
    """

    def __init__(
        self,
        *,
        store: Store,
        lab: str,
        controllers: Manager,
        hosts: LabController,
        kubelet: Settling,
        agent_starts: Callable[[str], Collection[int]],
        ask_agents: Callable[[], Awaitable[int]] = _nobody,
        machine: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._store = store
        self._ask_agents = ask_agents
        self._machine = machine
        self._asked = 0  # the version of the Lab that asked last
        self._agent_starts = agent_starts
        self._lab = lab
        self._controllers = controllers
        self._hosts = hosts
        self._kubelet = kubelet
        self._decoded: dict[str, dict[int, Any]] = {}  # by kind, the objects of the last look by version; None: unreadable
        self._unread = Containment(log, "object", time.monotonic)

    def look(self) -> Report:
        """Return how far everything is right now."""
        leases = {lease.key: lease for lease in self._objects(LEASES)}
        parts = [*self._control_plane(), *self._programmed(leases)]
        pods = self._kubelet.settled()
        waiting = (*(sentence for done, sentence in parts if not done), *pods)
        lagging = tuple(self._unhealthy(leases.get(EDGE_LEASE)))
        total = max(len(parts) + len(self._store.list(PODS)), len(waiting))  # the kubelet waits for more than pods
        notes = () if waiting else (*self._notes(), *told_problems(leases, self._node_names))
        return Report(total - len(waiting), total, waiting, lagging, notes)

    def _notes(self) -> tuple[str, ...]:
        """Return what the user should know, each sentence once however many parts of the daemon say it."""
        unread = (f"{key} cannot be read: {failure.message}" for key, failure in self._unread.failures.items())
        damaged = (str(damaged) for damaged in self._store.damaged())
        return tuple(dict.fromkeys([*damaged, *unread, *self._controllers.problems, *self._kubelet.notes(), *self._machine()]))

    def _objects(self, resource: Resource[Kind]) -> list[Kind]:
        """Return the objects of a kind, decoded when they were not at the last look."""
        before = self._decoded.get(resource.plural, {})
        now: dict[int, Any] = {}
        for stored in self._store.list(resource):
            if stored.version in before:
                now[stored.version] = before[stored.version]
                continue
            key, now[stored.version] = f"{resource.kind} {'/'.join(filter(None, stored.key))}", None
            with self._unread.contain(key, str(stored.version)):
                now[stored.version] = resource.decode(stored.body)
        self._decoded[resource.plural] = now
        return [obj for obj in now.values() if obj is not None]

    def _control_plane(self) -> Iterable[tuple[bool, str]]:
        lab = next((lab for lab in self._objects(LABS) if lab.metadata.name == self._lab), None)
        made = lab is not None and lab.status.observed_generation == lab.metadata.generation and self._hosts.standing
        problem = f": {self._hosts.problem}" if self._hosts.problem else ""
        yield made, f"the hosts of lab {self._lab}{problem}"
        yield self._controllers.idle, "the controllers"

    def _programmed(self, leases: Mapping[str, Lease]) -> Iterable[tuple[bool, str]]:
        verified = any(lab.spec.dns.verifies_pods for lab in self._objects(LABS))
        kinds = (*NODE_KINDS, PODS) if verified else NODE_KINDS
        for node in self._objects(NODES):
            name = node.metadata.name
            yield node.is_ready, f"node {name} to be ready"
            yield self._holder(leases.get(node_lease(name)), name, kinds, f"the agent of {name}")
        yield self._holder(leases.get(EDGE_LEASE), EDGE, EDGE_KINDS, "the edge")

    def _holder(self, lease: Lease | None, host: str, kinds: Iterable[AnyResource], who: str) -> tuple[bool, str]:
        """Return whether a holder of a Lease has programmed everything, and the sentence for while it has not."""
        if self._synced(lease, host, kinds):
            return True, who
        return False, next((f"{who}: {problem}" for problem in (lease.problems if lease else ())), who)

    @property
    def _node_names(self) -> list[str]:
        return [node.metadata.name for node in self._objects(NODES)]

    def _unhealthy(self, lease: Lease | None) -> Iterable[str]:
        """Yield the load balancers that do not use every node they should, as far as the edge has found out."""
        healthy = lease.healthy_nodes if lease else {}
        balanced = [service for service in self._objects(SERVICES) if is_balanced(service)]
        ready = self._ready_endpoints({service.key for service in balanced})
        for service in balanced:
            wanted = self._serving_nodes(service, ready.get(service.key, []))
            used = [set(nodes) for nodes in healthy.get(service.key, {}).values()]
            if missing := wanted - (used[0].intersection(*used[1:]) if used else set()):
                yield f"load balancer {service.key} to find {', '.join(sorted(missing))} healthy"

    def _ready_endpoints(self, services: Collection[str]) -> Mapping[str, list[Endpoint]]:
        """Return the ready endpoints of these Services, by key; the slices are looked through once, or not at all."""
        found: dict[str, list[Endpoint]] = {}
        for piece in self._objects(ENDPOINT_SLICES) if services else ():
            if piece.service_key in services:
                found.setdefault(piece.service_key, []).extend(e for e in piece.endpoints if e.conditions.is_ready)
        return found

    def _serving_nodes(self, service: Service, ready: list[Endpoint]) -> set[str]:
        """Return the nodes that should answer the edge: all when there is an endpoint, under Local those that have one."""
        if service.spec.external_traffic_policy == "Local":
            return {endpoint.node_name for endpoint in ready if endpoint.node_name}
        nodes = [node.metadata for node in self._objects(NODES)]
        return {node.name for node in nodes if node.deletion_timestamp is None} if ready else set()

    def _synced(self, lease: Lease | None, host: str, kinds: Iterable[AnyResource]) -> bool:
        """Tell whether a Lease says that everything is programmed, and is that of the agent that runs now."""
        if lease is None or not all(lease.synced(kind.plural) >= self._store.last_change(kind) for kind in kinds):
            return False
        if lease.synced(LABS.plural) < self._asked:
            return False
        holders = {holder_identity(lease.metadata.name, start) for start in self._agent_starts(host)}
        return lease.spec.holder_identity in holders

    async def follow(self, seconds: float, *, look: bool = False) -> AsyncIterator[Report]:
        """Yield reports as they change until all is in place or `seconds` have passed; the last is the state.

        With `look`, nothing is in place that has not been looked at since.
        """
        repairs = self._hosts.repairs if look else None
        if look:
            self._hosts.look_again()
            self._kubelet.look_at_everything()
            self._asked = max(self._asked, await self._ask_agents())
        deadline = asyncio.get_running_loop().time() + seconds
        changed = asyncio.Event()
        sources = (self._store.listeners, self._kubelet.listeners, self._hosts.listeners)
        for listeners in sources:
            listeners.add(changed)
        quiet = asyncio.get_running_loop().create_task(self._tell_when_quiet(changed))
        try:
            async for report in self._follow(changed, deadline, repairs):
                yield report
        finally:
            quiet.cancel()
            for listeners in sources:
                listeners.discard(changed)

    async def _tell_when_quiet(self, changed: asyncio.Event) -> None:
        """Set `changed` whenever the controllers have finished: that is no change of any object."""
        while True:
            await self._controllers.wait_round()
            changed.set()

    async def _follow(self, changed: asyncio.Event, deadline: float, repairs: int | None) -> AsyncIterator[Report]:
        """Yield reports; `repairs` of hosts were made before the look that was asked for, None when none was.

        What agents keep leans on their host's links, so they are asked again after these were repaired.
        """
        last: Report | None = None
        farthest = Farthest()
        patience: float | None = None  # until when what lags is waited for
        while True:
            changed.clear()
            if repairs is not None and repairs != self._hosts.repairs:
                repairs = self._hosts.repairs
                self._asked = max(self._asked, await self._ask_agents())
            report = farthest.counted(self.look())
            if report != last:
                yield report
                last = report
            if not (report.waiting or report.lagging):
                return
            if not report.waiting and patience is None:
                patience = min(deadline, asyncio.get_running_loop().time() + PATIENCE)
            until = deadline if report.waiting or patience is None else patience
            try:
                async with asyncio.timeout_at(until):
                    await changed.wait()
            except TimeoutError:
                if not report.waiting:
                    told = tuple(f"gave up waiting for {sentence}" for sentence in report.lagging)
                    yield replace(report, lagging=(), notes=(*report.notes, *told))
                else:
                    yield replace(report, notes=self._notes(), expired=True)
                return


def is_balanced(service: Service) -> bool:
    """Tell whether the edge serves a Service: it is of our class, and a port can be reached at an address."""
    return is_ours(service) and bool(frontends((service,), Family.IPV4))
