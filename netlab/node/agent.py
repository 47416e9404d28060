"""The agent of a node: overlay, service proxy, DNS and health checks, in the node's own network namespace.

How it works. Informers keep the objects it needs; whenever one changes, a round computes what the node should hold (pure
code of `dataplane`, `proxy`, `dns`) and the keepers write the difference:

    Nodes                    -> flannel.1, ARP, FDB, routes          (agent_overlay)
    Services, EndpointSlices -> table ip kube-proxy, stale UDP flows (agent_tables, proxy.conntrack)
                             -> health check servers                 (agent_health)
                             -> the zone that the DNS server answers from
    the lab's networks       -> table ip flannel-ipv4                (agent_tables)

After a round the Lease of the node says up to which resourceVersion of each kind all this is done; `up` waits for that.
Every 30 s, as kube-proxy's syncPeriod, a round also looks at what somebody may have changed by hand (semantics 6.21).
Nothing is programmed before everything has been listed once (semantics 6.20). SIGTERM ends the agent and leaves the
kernel as it is: the data plane needs no agent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from netlab.api.cluster import Namespace, Node
from netlab.api.config import ConfigMap
from netlab.api.discovery import EndpointSlice
from netlab.api.lab import Lab
from netlab.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, NAMESPACES, NODES, SERVICES, Resource
from netlab.api.services import Service
from netlab.api.wellknown import HOST_NAMES, HOST_NAMES_KEY, node_lease
from netlab.controlplane.http import HttpClient
from netlab.controlplane.informer import Informer
from netlab.controlplane.lease import LeaseKeeper, synced_versions
from netlab.controlplane.loop import run_rounds
from netlab.dns.server import DnsServer
from netlab.dns.zone import Zone
from netlab.errors import ApiError, KernelError
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.namespaces import OWN
from netlab.node.agent_health import HealthServers
from netlab.node.agent_overlay import OverlayKeeper, announcement
from netlab.node.agent_tables import RulesKeeper
from netlab.proxy import health
from netlab.proxy.servicemap import ServicePortMap, ServiceTracker
from netlab.runtime.identity import own_start_time
from netlab.runtime.lifetime import run_until_terminated
from netlab.serving.descriptors import raise_limit

KINDS: tuple[Resource[Any], ...] = (SERVICES, ENDPOINT_SLICES, NODES, CONFIG_MAPS, NAMESPACES)
log = logging.getLogger("netlab.node")


class Agent:
    """Everything one node's agent knows and keeps."""

    def __init__(self, lab: Lab, node: str, client: HttpClient) -> None:
        self._lab = lab
        self._name = node
        self._client = client
        self._kernel = LinuxKernel()
        self._path = OWN  # whoever started this process did so in the node's namespace
        self._changed = asyncio.Event()
        self._news: set[tuple[str, str]] = set()  # kind and key of Services and EndpointSlices changed since the last round
        self._informers = {
            kind.plural: Informer(client, kind, changed=self._changed, on_change=self._note(kind.plural)) for kind in KINDS
        }
        self._overlay = OverlayKeeper(self._kernel, self._path, lab, node)
        self._rules = RulesKeeper(self._kernel, self._path, lab.spec.networking)
        self._lease = LeaseKeeper(client, node_lease(node), own_start_time())
        self._tracker: ServiceTracker | None = None
        self._zone: Zone | None = None
        self._dns = DnsServer(lambda: self._zone)
        self._dns_started = False
        self._programmed_at: datetime | None = None
        self._waiting_since: datetime | None = None  # a round has failed since then
        self._health = HealthServers(self._healthz, lab.spec.networking.kube_proxy_mode)

    def _note(self, kind: str) -> Callable[[str, Any, Any], None]:
        """Return what notes a change of a kind for the next round."""

        def note(key: str, _before: object, _after: object) -> None:
            if kind in {"services", "endpointslices"}:
                self._news.add((kind, key))

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
        await self._health.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                for informer in self._informers.values():
                    tasks.create_task(informer.run())
                tasks.create_task(run_rounds(self._changed, self._round))
        finally:
            await self._dns.close()
            await self._health.close()

    async def _round(self, resync: bool) -> bool:
        """Bring kernel, DNS and health servers to what is known now; False when something refused."""
        informers = self._informers.values()
        node = self._nodes.get(self._name)
        if node is None or not all(informer.has_synced for informer in informers):
            return True  # semantics 6.20, or not registered yet; the news will wake us
        synced = synced_versions(informers)
        try:
            if missing := announcement(self._lab, node):
                await self._client.patch(NODES, self._name, {"metadata": {"annotations": missing}})
            await self._program(node, resync=resync)
            await self._lease.renew(synced)
        except (KernelError, ApiError, OSError) as error:
            self._waiting_since = self._waiting_since or datetime.now(UTC)
            log.warning("round=failed node=%s error=%r", self._name, str(error))
            return False
        self._programmed_at, self._waiting_since = datetime.now(UTC), None
        return True

    async def _program(self, node: Node, *, resync: bool) -> None:
        """Make kernel, health servers and DNS what the objects say."""
        services = self._service_map(node)
        await asyncio.to_thread(self._program_kernel, node, services, resync)
        await self._health.update(health.health_check_answers(services))
        await self._serve_names(node)

    def _service_map(self, node: Node) -> ServicePortMap:
        """Return the ports of all Services as this node sees them; only those with news are computed anew."""
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

    def _program_kernel(self, node: Node, services: ServicePortMap, resync: bool) -> None:
        """Write overlay and rules; blocking, in a thread of its own."""
        self._overlay.keep(self._nodes.values(), resync=resync)
        self._rules.keep(node, services, resync=resync)

    async def _serve_names(self, node: Node) -> None:
        hosts: ConfigMap | None = self._informers["configmaps"].cache.get(HOST_NAMES)
        namespaces: dict[str, Namespace] = self._informers["namespaces"].cache
        self._zone = Zone.build(
            self._lab.spec.networking.dns_domain,
            self._services.values(),
            self._slices.values(),
            namespaces.values(),
            node_hosts_text=hosts.data.get(HOST_NAMES_KEY, "") if hosts else "",
            serial=max(informer.resource_version for informer in self._informers.values()),
            previous=self._zone,
        )
        self._dns.update(self._zone)
        if not self._dns_started:
            await self._dns.start(node.internal_ip)
            self._dns_started = True

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
