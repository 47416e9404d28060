"""Whether the lab has converged, and what it still waits for, in sentences.

Theory. A change of an object has converged when the controllers have processed it, the kubelet's
pods have settled, and the Lease of every agent (and of the edge) reports a resourceVersion of each
kind, up to which the kernel has the rules, that is not older than the newest change. The store has
the newest change of each kind, deletions included, so the comparison needs no guess and no sleep.
The next change of an object wakes a waiting client, and so does the end of a round of controllers,
hosts or kubelet, which may settle something without changing an object (a pod that will not become
ready).

An engine reports changes of hosts and containers, perhaps late. A command that changes a running
lab needs the present state, not the last observed one: then hosts and pods are checked once more,
and do not count as converged before. An annotation of the Lab asks agents and edge to check their
kernel; a Lease with the version of that Lab reports that its holder has done so.

An agent that is behind may have failed at a part of its work; its Lease contains the part and the
reason, and so does the sentence. A part that an agent left out although all else has converged is a
note.

While a lab starts there are several hundred checks, each of everything, so a check must be cheap:
an object is decoded once (a stored body never changes, and every change has its own version), and
the most expensive question is last, when all else has converged (the machine has the start times of
agents).

An object that cannot be read, or that its controller or kubelet cannot process, is a note and is
not waited for: it cannot make progress, and the note names it and the reason.
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

log = logging.getLogger("netlab.daemon")
Kind = TypeVar("Kind", bound=Object)
NODE_KINDS = (SERVICES, ENDPOINT_SLICES, NODES, CONFIG_MAPS, NAMESPACES)
LAG_TIMEOUT = 3.0  # seconds to wait for what may never happen: a node whose backend does not listen is never healthy
EDGE_KINDS = (SERVICES, ENDPOINT_SLICES, NODES, CONFIG_MAPS)


class Settling(Protocol):
    """A part of the daemon that may be busy (the kubelet)."""

    @property
    def listeners(self) -> set[asyncio.Event]:
        """Events to set after every round, even if it changed no object."""

    def settled(self) -> list[str]:
        """Return a sentence for each thing that is not settled yet."""

    def look_at_everything(self) -> None:
        """Check the machine regardless of reported events.

        Nothing is settled before that is done.
        """

    def notes(self) -> list[str]:
        """Return a note for the user about each problem that will not settle."""


@dataclass(frozen=True)
class Report:
    """The progress: `waiting` must happen; `lagging` may never happen, so its wait is limited."""

    done: int
    total: int
    waiting: tuple[str, ...] = ()
    lagging: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    expired: bool = False  # the timeout has passed: this is the last report

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
    """The highest progress so far, so that the count that a user sees never decreases.

    Progress is not monotonic: an agent is behind again whenever an endpoint is added, and a deleted
    pod is no longer waited for. What has converged once stays counted, and what is deleted counts
    as done. The list of what is waited for is reported unchanged.
    """

    def __init__(self) -> None:
        self._done = self._total = 0

    def counted(self, report: Report) -> Report:
        """Return a report with the counts to show."""
        self._total = max(self._total, report.total)
        self._done = max(self._done, self._total - len(report.waiting))
        return replace(report, done=self._done, total=self._total)


async def _no_agents() -> int:
    """Ask no agent to check its kernel."""
    return 0


class Convergence:
    """Checks a lab's store and its parts.

    `ask_agents` asks agents and edge to check their kernel, and returns the Lab's version of that
    request. `machine` returns a sentence for each problem of the machine.
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
        ask_agents: Callable[[], Awaitable[int]] = _no_agents,
        machine: Callable[[], Iterable[str]] = tuple,
        lag_timeout: float = LAG_TIMEOUT,
    ) -> None:
        self._store = store
        self._ask_agents = ask_agents
        self._machine = machine
        self._lag_timeout = lag_timeout
        self._asked = 0  # the Lab's version of the last request to agents
        self._agent_starts = agent_starts
        self._lab = lab
        self._controllers = controllers
        self._hosts = hosts
        self._kubelet = kubelet
        self._decoded: dict[str, dict[int, Any]] = {}  # by kind, the objects of the last check by version; None: unreadable
        self._unread = Containment(log, "object", time.monotonic)

    def look(self) -> Report:
        """Return the present progress."""
        leases = {lease.key: lease for lease in self._objects(LEASES)}
        parts = [*self._control_plane(), *self._programmed(leases)]
        pods = self._kubelet.settled()
        waiting = (*(sentence for done, sentence in parts if not done), *pods)
        lagging = tuple(self._unhealthy(leases.get(EDGE_LEASE)))
        total = max(len(parts) + len(self._store.list(PODS)), len(waiting))  # the kubelet waits for more than pods
        notes = () if waiting else (*self._notes(), *told_problems(leases, self._node_names))
        return Report(total - len(waiting), total, waiting, lagging, notes)

    def _notes(self) -> tuple[str, ...]:
        """Return the notes for the user, each sentence once even if several parts report it."""
        unread = (f"{key} cannot be read: {failure.message}" for key, failure in self._unread.failures.items())
        damaged = (str(damaged) for damaged in self._store.damaged())
        return tuple(dict.fromkeys([*damaged, *unread, *self._controllers.problems, *self._kubelet.notes(), *self._machine()]))

    def _objects(self, resource: Resource[Kind]) -> list[Kind]:
        """Return the objects of a kind; decodes those that the last check did not."""
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
        """Return whether the holder of a Lease has programmed everything, and the sentence."""
        if self._synced(lease, host, kinds):
            return True, who
        return False, next((f"{who}: {problem}" for problem in (lease.problems if lease else ())), who)

    @property
    def _node_names(self) -> list[str]:
        return [node.metadata.name for node in self._objects(NODES)]

    def _unhealthy(self, lease: Lease | None) -> Iterable[str]:
        """Yield a sentence for each load balancer with a node that is not healthy yet."""
        healthy = lease.healthy_nodes if lease else {}
        balanced = [service for service in self._objects(SERVICES) if is_balanced(service)]
        ready = self._ready_endpoints({service.key for service in balanced})
        for service in balanced:
            wanted = self._serving_nodes(service, ready.get(service.key, []))
            used = [set(nodes) for nodes in healthy.get(service.key, {}).values()]
            if missing := wanted - (used[0].intersection(*used[1:]) if used else set()):
                yield f"load balancer {service.key} to find {', '.join(sorted(missing))} healthy"

    def _ready_endpoints(self, services: Collection[str]) -> Mapping[str, list[Endpoint]]:
        """Return the ready endpoints of these Services, by key, in one pass over the slices."""
        found: dict[str, list[Endpoint]] = {}
        for piece in self._objects(ENDPOINT_SLICES) if services else ():
            if piece.service_key in services:
                found.setdefault(piece.service_key, []).extend(e for e in piece.endpoints if e.conditions.is_ready)
        return found

    def _serving_nodes(self, service: Service, ready: list[Endpoint]) -> set[str]:
        """Return the nodes that should be healthy: all if a Service has an endpoint.

        With the policy Local, only the nodes of its endpoints.
        """
        if service.spec.external_traffic_policy == "Local":
            return {endpoint.node_name for endpoint in ready if endpoint.node_name}
        nodes = [node.metadata for node in self._objects(NODES)]
        return {node.name for node in nodes if node.deletion_timestamp is None} if ready else set()

    def _synced(self, lease: Lease | None, host: str, kinds: Iterable[AnyResource]) -> bool:
        """Return whether a Lease of the present agent reports that everything is programmed."""
        if lease is None or not all(lease.synced(kind.plural) >= self._store.last_change(kind) for kind in kinds):
            return False
        if lease.synced(LABS.plural) < self._asked:
            return False
        holders = {holder_identity(lease.metadata.name, start) for start in self._agent_starts(host)}
        return lease.spec.holder_identity in holders

    async def follow(self, seconds: float, *, look: bool = False) -> AsyncIterator[Report]:
        """Yield reports as they change until all has converged or `seconds` have passed.

        With `look`, everything must be checked again before it counts as converged.
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
        quiet = asyncio.get_running_loop().create_task(self._notify_when_idle(changed))
        try:
            async for report in self._follow(changed, deadline, repairs):
                yield report
        finally:
            quiet.cancel()
            for listeners in sources:
                listeners.discard(changed)

    async def _notify_when_idle(self, changed: asyncio.Event) -> None:
        """Set `changed` whenever the controllers have finished, which changes no object."""
        while True:
            await self._controllers.wait_round()
            changed.set()

    async def _follow(self, changed: asyncio.Event, deadline: float, repairs: int | None) -> AsyncIterator[Report]:
        """Yield reports; `repairs` counts repairs of hosts before the check, None without a check.

        The rules that agents keep depend on their host's links, so agents are asked again after a
        repair of the links.
        """
        last: Report | None = None
        farthest = Farthest()
        lag_deadline: float | None = None  # the end of the wait for what lags
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
            if not report.waiting and lag_deadline is None:
                lag_deadline = min(deadline, asyncio.get_running_loop().time() + self._lag_timeout)
            until = deadline if report.waiting or lag_deadline is None else lag_deadline
            try:
                async with asyncio.timeout_at(until):
                    await changed.wait()
            except TimeoutError:
                if not report.waiting:
                    told = tuple(f"stopped waiting for {sentence}" for sentence in report.lagging)
                    yield replace(report, lagging=(), notes=(*report.notes, *told))
                else:
                    yield replace(report, notes=self._notes(), expired=True)
                return


def is_balanced(service: Service) -> bool:
    """Return whether the edge serves a Service: it has netlab's class, an address and a port."""
    return is_ours(service) and bool(frontends((service,)))
