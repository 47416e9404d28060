"""The agent of a node: overlay, service proxy, DNS and health checks, in the node's own network namespace.

How it works. Informers keep the objects it needs; whenever one changes, a round computes what the node should hold (pure
code of `plane` and `dns`) and the keepers write the difference:

    Nodes                    -> flannel.1, ARP, FDB, routes          (plane.Overlay)
    Services, EndpointSlices -> table ip kube-proxy, stale UDP flows (plane.ServiceProxy)
                             -> health check servers                 (agent_health)
                             -> the zone that the DNS server answers from
    the lab's networks       -> table ip flannel-ipv4                (plane.Masquerade)

Overlay, rules, health checks and DNS have a keeper each (agent_plane): what fails in one, or an
object that one cannot use, stops no other. After a round the Lease of the node reports up to which
resourceVersion of each kind all this is done, and what is not; `up` waits for that.
Every 30 s, as kube-proxy's syncPeriod, a round also looks at what a user may have changed by hand (semantics 6.21); so it does
as soon as the kernel reports a change of flannel.1 (semantics 2.22, agent_damage), and when `up` asks for it.
The health server answers once the rules are there and the node is Ready, that is, when the other nodes have a route to it:
before, a load balancer that relies on it (UDP has no handshake to check) would lose what it sends to the node.
Nothing is programmed before everything has been listed once (semantics 6.20). SIGTERM ends the agent and leaves the
kernel as it is: the data plane needs no agent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from netlab.api.cluster import Namespace, Node
from netlab.api.config import ConfigMap
from netlab.api.discovery import EndpointSlice
from netlab.api.lab import Lab
from netlab.api.meta import Object
from netlab.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, LABS, NAMESPACES, NODES, PODS, SERVICES, Resource
from netlab.api.services import Service
from netlab.api.wellknown import HOST_NAMES, HOST_NAMES_KEY, PROBLEMS, node_lease
from netlab.containment import Containment
from netlab.controlplane.http import HttpClient
from netlab.controlplane.informer import Informer
from netlab.controlplane.lease import LeaseKeeper, synced_versions
from netlab.controlplane.loop import asked_to_look, run_rounds
from netlab.dns.forwarding import Forwarding
from netlab.dns.server import DnsServer
from netlab.dns.zone import Zone
from netlab.kernel.door import Monitor
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.monitor import ANY
from netlab.kernel.namespaces import OWN
from netlab.node.agent.damage import Damage
from netlab.node.agent.health import HealthServers
from netlab.node.agent.parts import PartsKeeper
from netlab.node.agent.plane import Keeper, Plane
from netlab.overlay.backends import announcement
from netlab.plane import OVERLAY, RULES, View, parts
from netlab.process.identity import own_start_time
from netlab.process.lifetime import run_until_terminated
from netlab.proxy import health
from netlab.proxy.servicemap import ServicePortMap, ServiceTracker
from netlab.serving.descriptors import raise_limit

KINDS: tuple[Resource[Any], ...] = (SERVICES, ENDPOINT_SLICES, NODES, CONFIG_MAPS, NAMESPACES, LABS)
ROUTED = frozenset({"services", "endpointslices"})  # the kinds that lead to endpoints
log = logging.getLogger("netlab.node")


def watched(lab: Lab) -> tuple[Resource[Any], ...]:
    """Return the kinds that a lab's agents watch."""
    return (*KINDS, PODS) if lab.spec.dns.verifies_pods else KINDS


class Agent:
    """Everything one node's agent holds and keeps."""

    def __init__(self, lab: Lab, node: str, client: HttpClient) -> None:
        self._lab = lab
        self._name = node
        self._client = client
        self._kernel = LinuxKernel()
        self._path = OWN  # whoever started this process did so in the node's namespace
        self._changed = asyncio.Event()
        self._news: set[tuple[str, str]] = set()  # kind and key of Services and EndpointSlices changed since the last round
        self._informers = {
            kind.plural: Informer(client, kind, changed=self._changed, on_change=self._note(kind.plural)) for kind in watched(lab)
        }
        own = parts(lab)
        self._overlay, self._rules = (
            PartsKeeper(self._kernel, self._path, [part for part in own if part.keeper == name]) for name in (OVERLAY, RULES)
        )
        self._watched = frozenset({ANY}).union(*(part.watched for part in own))
        self._lease = LeaseKeeper(client, node_lease(node), own_start_time())
        self._tracker: ServiceTracker | None = None
        self._ports: ServicePortMap = {}
        self._zone: Zone | None = None
        self._forwarding = Forwarding.of(lab.spec.dns)
        self._dns = DnsServer(lambda: self._zone)
        self._dns_started = self._health_started = False
        self._programmed_at: datetime | None = None
        self._waiting_since: datetime | None = None  # the rules have not been written since then
        self._health = HealthServers(self._healthz, lab.spec.networking.kube_proxy_mode)
        self._look = False  # an inspection of the kernel was requested
        self._damage = Damage()
        self._own = Node()  # the own Node object of this round
        self._telling = Containment(log, "part", time.monotonic)
        self._plane = Plane(
            (
                Keeper("announcement", frozenset({"nodes"}), self._announce),
                Keeper(OVERLAY, frozenset({"nodes"}), self._keep_overlay, lambda: self._overlay.refused),
                Keeper(RULES, ROUTED | {"nodes"}, self._keep_rules, self._refused_by_rules),
                Keeper("health", ROUTED | {"nodes"}, self._keep_health),
                Keeper("dns", frozenset(self._informers) - {"nodes", "labs"}, self._serve_names, self._refused_by_dns),
            ),
            log,
            time.monotonic,
        )

    def _note(self, kind: str) -> Callable[[str, Any, Any], None]:
        """Return what notes a change of a kind for the next round."""

        def note(key: str, before: Object | None, after: Object | None) -> None:
            if kind in ROUTED:
                self._news.add((kind, key))
            if kind == LABS.plural and asked_to_look(before, after):
                self._look = True

        return note

    # ---- what the informers hold
    @property
    def _services(self) -> dict[str, Service]:
        return self._informers["services"].cache

    @property
    def _slices(self) -> dict[str, EndpointSlice]:
        return self._informers["endpointslices"].cache

    @property
    def _nodes(self) -> dict[str, Node]:
        return self._informers["nodes"].cache

    async def run(self) -> None:
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        monitor = self._kernel.monitor(self._path)
        loop.add_reader(monitor.fileno(), self._hear, monitor)
        try:
            async with asyncio.TaskGroup() as tasks:
                for informer in self._informers.values():
                    tasks.create_task(informer.run())
                tasks.create_task(run_rounds(self._changed, self._round))
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()
            await self._dns.close()
            await self._health.close()

    def _hear(self, monitor: Monitor) -> None:
        """Look at the overlay soon after something happened to it (semantics 2.22)."""
        if monitor.read() & self._watched:
            loop = asyncio.get_running_loop()
            if (due := self._damage.heard(loop.time())) is not None:
                loop.call_at(due, self._changed.set)

    async def _round(self, resync: bool) -> bool:
        """Bring kernel, DNS and health servers to what is known now; False when something refused."""
        informers = self._informers.values()
        node = self._nodes.get(self._name)
        if node is None or not all(informer.has_synced for informer in informers):
            return True  # semantics 6.20, or not registered yet; the news will wake us
        self._own = node
        now = asyncio.get_running_loop().time
        look, self._look = resync or self._look or self._damage.is_due(now()), False
        done = await self._plane.run(synced_versions(informers), resync=look)
        if look:
            self._damage.looked(now(), repaired=self._overlay.repaired)
        self._note_progress()
        with self._telling.contain("lease") as told:
            await self._lease.renew(self._plane.synced, {PROBLEMS: self._plane.problems})
        return done and told.error is None

    def _note_progress(self) -> None:
        if self._plane.is_failing(RULES):
            self._waiting_since = self._waiting_since or datetime.now(UTC)
        else:
            self._programmed_at, self._waiting_since = datetime.now(UTC), None

    # ---- what the keepers do
    async def _announce(self, _look: bool) -> None:
        if missing := announcement(self._lab, self._own):
            await self._client.patch(NODES, self._name, {"metadata": {"annotations": missing}})

    async def _keep_overlay(self, look: bool) -> None:
        await asyncio.to_thread(self._overlay.keep, self._view(), resync=look)

    async def _keep_rules(self, look: bool) -> None:
        self._ports = self._service_map(self._own)
        await asyncio.to_thread(self._rules.keep, self._view(), resync=look)

    def _view(self) -> View:
        return View(self._own, tuple(self._nodes.values()), self._ports)

    def _refused_by_rules(self) -> Mapping[str, Exception]:
        return {**(self._tracker.refused if self._tracker else {}), **self._rules.refused}

    def _service_map(self, node: Node) -> ServicePortMap:
        """Return the ports of all Services as this node sees them; only changed ones are computed again."""
        if self._tracker is None:
            self._tracker = ServiceTracker(node)
            self._news = {("services", key) for key in self._services} | {("endpointslices", key) for key in self._slices}
        tracker, news = self._tracker, self._news
        self._news = set()
        tracker.set_node(node)
        for kind, key in news:
            if kind == "services":
                tracker.set_service(key, self._services.get(key))
            else:
                tracker.set_slice(key, self._slices.get(key))
        return tracker.current()

    async def _keep_health(self, _look: bool) -> None:
        if self._own.is_ready and not self._health_started:
            await self._health.start()
            self._health_started = True
        await self._health.update(health.health_check_answers(self._ports))

    async def _serve_names(self, _look: bool) -> None:
        hosts: ConfigMap | None = self._informers["configmaps"].cache.get(HOST_NAMES)
        namespaces: dict[str, Namespace] = self._informers["namespaces"].cache
        self._zone = Zone.build(
            self._lab.spec.networking.dns_domain,
            self._services.values(),
            self._slices.values(),
            namespaces.values(),
            self._informers[PODS.plural].cache.values() if PODS.plural in self._informers else (),
            node_hosts_text=hosts.data.get(HOST_NAMES_KEY, "") if hosts else "",
            serial=max(informer.resource_version for informer in self._informers.values()),
            ttl=self._lab.spec.dns.ttl,
            pod_mode=self._lab.spec.dns.pod_records,
            forwarding=self._forwarding,
            previous=self._zone,
        )
        self._dns.update(self._zone)
        if not self._dns_started:
            await self._dns.start(self._own.address)
            self._dns_started = True

    def _refused_by_dns(self) -> Mapping[str, Exception]:
        return self._zone.refused if self._zone else {}

    def _healthz(self, live: bool) -> health.Answer:
        answer = health.livez if live else health.healthz
        progress = health.Progress(self._programmed_at, self._waiting_since)
        node = self._nodes.get(self._name)
        return answer(progress, datetime.now(UTC), node_deleting=node is None or node.metadata.deletion_timestamp is not None)


async def _run(arguments: dict[str, str], lab: Lab, token: str) -> None:
    async with HttpClient(arguments["server"], arguments["ca"], token) as client:
        await Agent(lab, arguments["node"], client).run()


def main(arguments: dict[str, str]) -> None:
    """Be the agent of `arguments["node"]` (docs/architecture.md) until SIGTERM."""
    raise_limit()
    lab = msgspec.json.decode(Path(arguments["lab_file"]).read_bytes(), type=Lab)
    token = Path(arguments["token"]).read_text()
    run_until_terminated(_run(arguments, lab, token), log, f"agent=ended node={arguments['node']}")
