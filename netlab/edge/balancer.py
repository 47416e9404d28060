"""The loop of the edge: objects -> what is wanted -> health -> kernel and DNS -> report. Level-triggered (principle 4).

Every round compares all that is known with kernel and DNS, and writes the difference. A round runs when an object or a node's
health has changed; every thirty seconds the kernel is inspected for changes by hand. Rules and DNS are contained by themselves:
neither waits for the other. The report (Lease, Events) has its own loop, every ten seconds and after each round, so an API
server that does not answer delays no round.

What would surprise you: a new process does not touch the rules that an earlier one left before every node has answered
once. It has no memory of who was healthy, and would refuse everybody for a moment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from netlab.api.cluster import Node
from netlab.api.config import ConfigMap
from netlab.api.discovery import EndpointSlice
from netlab.api.lab import Lab
from netlab.api.meta import Object
from netlab.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, LABS, NODES, SERVICES
from netlab.api.services import Service
from netlab.api.wellknown import EDGE_LEASE, HOST_NAMES, LOAD_BALANCERS, PROBLEMS
from netlab.containment import Containment
from netlab.controlplane.client import Client
from netlab.controlplane.informer import Informer
from netlab.controlplane.lease import LeaseKeeper, synced_versions
from netlab.controlplane.left_out import LeftOut
from netlab.controlplane.loop import asked_to_look, run_rounds
from netlab.edge.frontends import Backend, Check, Frontend, Offered, Usable, is_ours, offered, unserved, usable
from netlab.edge.health import PACE, Checker, Pace
from netlab.edge.names import OutsideNames
from netlab.edge.programming import Programmer
from netlab.edge.reporting import Reporter, health_report
from netlab.edge.rules import Balancing
from netlab.family import Family
from netlab.kernel.door import Kernel
from netlab.process.identity import own_start_time

log = logging.getLogger("netlab.edge")
FAMILY = Family.IPV4  # of the outside network and the pool


class Balancer:
    """Serves the Services of type LoadBalancer in the namespace at `path`, and `names`, the DNS outside the cluster.

    Run it with `await run()`; cancel to end it.
    """

    def __init__(
        self,
        client: Client,
        kernel: Kernel,
        path: str,
        probe: Callable[[Check], Awaitable[bool]],
        names: OutsideNames,
        *,
        pace: Pace = PACE,
    ) -> None:
        self._changed = asyncio.Event()
        self._programmed = asyncio.Event()  # there is something to report
        self._balancing = Balancing({})
        self._unserved: tuple[tuple[Service, ...], dict[str, Exception]] = ((), {})
        self._services: Informer[Service] = Informer(client, SERVICES, changed=self._changed)
        self._slices: Informer[EndpointSlice] = Informer(client, ENDPOINT_SLICES, changed=self._changed)
        self._nodes: Informer[Node] = Informer(client, NODES, changed=self._changed)
        self._config_maps: Informer[ConfigMap] = Informer(client, CONFIG_MAPS, changed=self._changed)
        self._labs: Informer[Lab] = Informer(client, LABS, changed=self._changed, on_change=self._note_look)
        self._look = False  # a look at the kernel is owed: somebody asked for it, or the last one failed
        self._checker = Checker(probe, self._changed, pace)
        self._programmer = Programmer(kernel, path, FAMILY)
        self._names = names
        self._reporter = Reporter(client)
        self._lease = LeaseKeeper(client, EDGE_LEASE, own_start_time())
        self._seen: tuple[object, ...] = ()
        self._started = False
        self._synced: dict[str, str] = {}  # what kernel and DNS were last brought to
        self._parts = Containment(log, "part", time.monotonic)
        self._left_out = LeftOut(log)

    async def run(self) -> None:
        """Serve until cancelled. The kernel keeps its rules afterwards."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for informer in self._informers:
                    tasks.create_task(informer.run())
                tasks.create_task(run_rounds(self._changed, self._round))
                tasks.create_task(run_rounds(self._programmed, self._report))
        finally:
            await self._checker.close()
            await self._names.close()

    @property
    def _balanced(self) -> tuple[Informer[Any], ...]:
        """What the load balancer reads."""
        return (self._services, self._slices, self._nodes, self._labs)

    @property
    def _informers(self) -> tuple[Informer[Any], ...]:
        return (*self._balanced, self._config_maps)

    def _note_look(self, _key: str, before: Object | None, after: Object | None) -> None:
        self._look = self._look or asked_to_look(before, after)

    async def _round(self, resync: bool) -> bool:
        """Bring the kernel to what is known now; False when something refused."""
        if not all(informer.has_synced for informer in self._informers):
            return True  # semantics 6.20; their news will wake us
        named = await self._serve_names()
        synced = synced_versions(self._balanced)
        look = resync or self._look
        services = tuple(self._services.cache.values())
        found, nodes = offered(services, FAMILY), usable(self._nodes.cache.values(), FAMILY)
        balancing = self._ask(found, nodes)
        if not (self._started or self._checker.all_asked):
            return named
        self._left_out.report("objects", {**found.refused, **nodes.refused})
        self._look = False
        with self._parts.contain("rules") as programmed:
            await asyncio.to_thread(self._programmer.program, balancing, found.addresses, resync=look)
            self._started = True
            self._synced |= synced
        self._look = self._look or (look and programmed.error is not None)
        self._left_out.report("rules", {"": programmed.error} if programmed.error else self._programmer.refused)
        self._balancing, self._unserved = balancing, (services, {**found.refused, **self._programmer.refused})
        self._programmed.set()
        return named and programmed.error is None

    async def _report(self, _look: bool) -> bool:
        """Write the Lease and the Events; False if the API server refused."""
        with self._parts.contain("lease") as told:
            if self._started:
                more = {LOAD_BALANCERS: health_report(self._balancing), PROBLEMS: self._left_out.problems}
                await self._lease.renew(dict(self._synced), more)
            for service, message in unserved(*self._unserved, FAMILY):
                await self._reporter.tell(service, message)
        return told.error is None

    async def _serve_names(self) -> bool:
        """Have the DNS server answer from the lab's hosts as they are now; tell whether it does."""
        version = self._config_maps.resource_version
        with self._parts.contain("dns") as served:
            await self._names.serve(self._config_maps.cache.get(HOST_NAMES), version)
            self._synced[CONFIG_MAPS.plural] = str(version)
        self._left_out.report("dns", {"": served.error} if served.error else {})
        return served.error is None

    def _ask(self, found: Offered, nodes: Usable) -> Balancing:
        """Have the right questions asked, and return what follows from the answers so far."""
        self._checker.watch({f.path: [f.check(node) for node in nodes.backends] for f in found.frontends})
        seen = self._relevant(found, nodes)
        if seen != self._seen:
            self._seen = seen
            self._checker.hurry()
        served = {frontend.path: healthy for frontend, healthy in self._balancing.healthy.items()}
        healthy = {f: self._healthy(f, nodes.backends, served.get(f.path, ())) for f in found.frontends}
        return Balancing(healthy, nodes.backends)

    def _healthy(self, frontend: Frontend, nodes: tuple[Backend, ...], served: tuple[Backend, ...]) -> tuple[Backend, ...]:
        """Return the nodes for a port's traffic: by their checks; a node whose check is new and unasked, as before (`served`)."""
        checks = [(node, frontend.check(node)) for node in nodes]
        asked, healthy = self._checker.was_asked, self._checker.is_healthy
        return tuple(node for node, check in checks if (healthy(check) if asked(check) else node in served))

    def _relevant(self, found: Offered, nodes: Usable) -> tuple[object, ...]:
        """Return a value that changes when something has changed that may change a node's answer."""
        ours = {service.key for service in self._services.cache.values() if is_ours(service)}
        slices = (piece for piece in self._slices.cache.values() if piece.service_key in ours)
        versions = sorted((piece.key, piece.metadata.resource_version) for piece in slices)
        return found.frontends, nodes.backends, tuple(versions)
