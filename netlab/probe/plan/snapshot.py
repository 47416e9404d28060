"""The lab's objects at one moment, and what a tester needs to know of them: places, addresses, endpoints.

Everything is derived from the API's objects and the naming scheme. Nothing asks the kernel: what the lab should be,
not what it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from netlab.api import catalogue, resources
from netlab.api.cluster import Node
from netlab.api.config import ConfigMap
from netlab.api.coordination import Lease
from netlab.api.discovery import Endpoint, EndpointConditions, EndpointSlice
from netlab.api.lab import Lab
from netlab.api.meta import Object
from netlab.api.pods import Pod
from netlab.api.services import Service, ServicePort
from netlab.api.wellknown import HOST_NAMES, HOST_NAMES_KEY, KUBE_DNS, ZONE_LABEL
from netlab.dataplane import names
from netlab.family import Family
from netlab.ipam import AddressPlan
from netlab.overlay import backends
from netlab.probe.plan.checks import Kind, Place, Talk
from netlab.proxy.remarks import Claimed, lost_claims

LISTED: tuple[resources.Resource[Any], ...] = (
    resources.LABS, resources.NODES, resources.PODS, resources.SERVICES, resources.ENDPOINT_SLICES, resources.NAMESPACES,
    resources.CONFIG_MAPS, resources.LEASES,
)  # fmt: skip


@dataclass(frozen=True)
class Backend:
    """An endpoint of a Service's port, with the place that has its address."""

    address: str
    port: int
    endpoint: Endpoint
    place: Place

    @cached_property
    def key(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class NodeAddresses:
    """The addresses a node may speak with: underlay, cni0 (`10.244.1.1`), flannel.1 (`10.244.1.0`, semantics 2.15)."""

    underlay: str
    gateway: str
    overlay: str

    @property
    def all(self) -> frozenset[str]:
        return frozenset({self.underlay, self.gateway, self.overlay})


@dataclass(frozen=True)
class Snapshot:
    """The objects of one lab. `name` is the lab's; `family` is that of the addresses to test."""

    name: str
    lab: Lab
    nodes: tuple[Node, ...] = ()
    pods: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    config_maps: tuple[ConfigMap, ...] = ()
    leases: tuple[Lease, ...] = ()
    family: Family = Family.IPV4

    @classmethod
    def decode(cls, name: str, objects: Mapping[str, Iterable[resources.Json]]) -> Snapshot:
        """Make a snapshot from lists of JSON objects by the plural word of their kind."""
        typed = {r.plural: sorted(r.readable(objects.get(r.plural, ())), key=_key) for r in LISTED}
        lab = next((item for item in typed["labs"] if item.metadata.name == name), Lab())
        return cls(
            name=name,
            lab=lab,
            nodes=tuple(typed["nodes"]),
            pods=tuple(typed["pods"]),
            services=tuple(typed["services"]),
            slices=tuple(typed["endpointslices"]),
            config_maps=tuple(typed["configmaps"]),
            leases=tuple(typed["leases"]),
        )

    # ---- places
    @cached_property
    def underlay(self) -> dict[str, str]:
        """The underlay address of each node that has one and a podCIDR, by its name."""
        nodes = (node for node in self.nodes if node.spec.pod_cidr)
        found = {node.metadata.name: node.internal_ip_of(self.family) for node in nodes}
        return {name: address for name, address in found.items() if address}

    @cached_property
    def node_places(self) -> tuple[Place, ...]:
        return tuple(
            Place(Kind.NODE, name, names.host_namespace(self.name, name), address, name)
            for name, address in self.underlay.items()
        )

    @cached_property
    def client_places(self) -> tuple[Place, ...]:
        """The hosts outside the cluster."""
        addresses = AddressPlan.of(self.lab, self.family)
        return tuple(
            Place(Kind.CLIENT, c.name, names.host_namespace(self.name, c.name), addresses.client(number))
            for number, c in enumerate(self.lab.spec.clients, start=1)
        )

    @cached_property
    def pod_places(self) -> tuple[Place, ...]:
        """Every running pod that has an address of its own."""
        return tuple(self._place(p) for p in self.live_pods if not p.spec.host_network)

    @cached_property
    def host_network_places(self) -> tuple[Place, ...]:
        return tuple(self._place(p) for p in self.live_pods if p.spec.host_network)

    @cached_property
    def live_pods(self) -> tuple[Pod, ...]:
        """Pods with a node and an address that are neither finished nor about to be removed."""
        known = {n.name for n in self.node_places}
        return tuple(
            p for p in self.pods if p.status.pod_ip and p.spec.node_name in known and not p.terminating and not p.finished
        )

    def _place(self, pod: Pod) -> Place:
        node = pod.spec.node_name
        if pod.spec.host_network:
            return Place(Kind.NODE, pod.key, names.host_namespace(self.name, node), pod.status.pod_ip, node)
        namespace = names.pod_namespace(self.name, pod.metadata.namespace, pod.metadata.name)
        return Place(Kind.POD, pod.key, namespace, pod.status.pod_ip, node)

    @cached_property
    def _by_address(self) -> dict[str, Place]:
        return {p.address: p for p in (*self.client_places, *self.node_places, *self.pod_places)}

    def place_at(self, address: str) -> Place:
        """Return who has an address; a place of kind NOWHERE when nobody the tester knows."""
        return self._by_address.get(address) or Place(Kind.NOWHERE, address, "", address)

    @cached_property
    def overlay(self) -> backends.Backend:
        """How packets travel between nodes."""
        return backends.backend(self.name, self.lab.spec.networking, self.family)

    @cached_property
    def addresses(self) -> dict[str, NodeAddresses]:
        """The addresses of each node, by its name."""
        found = {}
        for node in self.nodes:
            if underlay := self.underlay.get(node.metadata.name):
                base = ipaddress.ip_network(node.spec.pod_cidr).network_address
                source = self.overlay.source(node)
                found[node.metadata.name] = NodeAddresses(underlay, str(base + 1), source)
        return found

    @cached_property
    def zones(self) -> dict[str, str]:
        return {n.metadata.name: n.metadata.labels.get(ZONE_LABEL, "") for n in self.nodes}

    def one_pod_per_node(self) -> tuple[Place, ...]:
        """Return the first pod of every node that has one."""
        return self._one_pod_per_node

    @cached_property
    def _one_pod_per_node(self) -> tuple[Place, ...]:
        first: dict[str, Place] = {}
        for place in self.pod_places:
            first.setdefault(place.node, place)
        return tuple(first[node] for node in sorted(first))

    # ---- Services
    def slices_of(self, service: Service) -> tuple[EndpointSlice, ...]:
        """Return the slices of a Service that have addresses of the family, by name."""
        return self._slices_by_service.get(service.key, ())

    @cached_property
    def _slices_by_service(self) -> dict[str, tuple[EndpointSlice, ...]]:
        found: dict[str, list[EndpointSlice]] = {}
        for piece in self.slices:
            if piece.address_type == self.family.name:
                found.setdefault(piece.service_key, []).append(piece)
        return {key: tuple(slices) for key, slices in found.items()}

    def backends(self, service: Service, port: ServicePort) -> tuple[Backend, ...]:
        """Return the endpoints of a Service's port from all its slices, each once (semantics 5.10).

        An endpoint that several slices list counts in its best state, as it does for the proxy.
        """
        key = (service.key, port.name, port.protocol)
        if key not in self._backends:
            self._backends[key] = self._merged(service, port)
        return self._backends[key]

    @cached_property
    def _backends(self) -> dict[tuple[str, str, str], tuple[Backend, ...]]:
        return {}

    @cached_property
    def usable_backends(self) -> dict[tuple[str, str, str, str, bool], tuple[Backend, ...]]:
        """What `expectation.usable` has found so far: a plan asks for each node's many times."""
        return {}

    @cached_property
    def talks(self) -> dict[tuple[str, str, str], Talk]:
        """What `services.talk` has found so far."""
        return {}

    def _merged(self, service: Service, port: ServicePort) -> tuple[Backend, ...]:
        found: dict[tuple[str, int], Backend] = {}
        for piece in self.slices_of(service):
            numbers = [p.port for p in piece.ports if (p.name, p.protocol) == (port.name, port.protocol) and p.port]
            for endpoint in piece.endpoints:
                for address in endpoint.addresses[:1]:
                    for number in numbers:
                        known = found.get((address, number))
                        if known is None or state_rank(endpoint.conditions) > state_rank(known.endpoint.conditions):
                            found[address, number] = Backend(address, number, endpoint, self.place_at(address))
        return tuple(found[key] for key in sorted(found))

    def workload_at(self, backend: Backend, protocol: str) -> catalogue.Workload | None:
        """Return the built-in workload that listens at a backend's port, None when it is not a built-in's."""
        key = (backend.address, backend.port, protocol)
        if key not in self._workloads:
            self._workloads[key] = self._find_workload(backend, protocol)
        return self._workloads[key]

    @cached_property
    def _workloads(self) -> dict[tuple[str, int, str], catalogue.Workload | None]:
        return {}

    def _find_workload(self, backend: Backend, protocol: str) -> catalogue.Workload | None:
        for pod in self._pods_by_address.get(backend.address, ()):
            for container in pod.spec.containers:
                workload = None if container.command else catalogue.find(container.image)
                declared = {p.container_port for p in container.ports if p.protocol == protocol}
                usual = () if workload is None else workload.tcp if protocol == "TCP" else workload.udp
                if workload and backend.port in (declared or usual):
                    return workload
        return None

    @cached_property
    def _pods_by_address(self) -> dict[str, tuple[Pod, ...]]:
        found: dict[str, list[Pod]] = {}
        for pod in self.live_pods:
            found.setdefault(pod.status.pod_ip, []).append(pod)
        return {address: tuple(pods) for address, pods in found.items()}

    @cached_property
    def lost_claims(self) -> dict[Claimed, str]:
        """The external addresses that lead to another Service than the one that asks for them (`netlab.proxy.claims`)."""
        return lost_claims(self.services, self.family)

    # ---- DNS
    @cached_property
    def zone(self) -> str:
        return self.lab.spec.networking.dns_domain

    @cached_property
    def dns_address(self) -> str:
        """The address of the kube-dns Service, empty when there is none."""
        return next((s.spec.cluster_ip for s in self.services if s.key == KUBE_DNS), "")

    @cached_property
    def hosts(self) -> dict[str, str]:
        """Names that DNS knows from ConfigMap kube-system/coredns, key NodeHosts (hosts-file text), to addresses."""
        text = next((c.data.get(HOST_NAMES_KEY, "") for c in self.config_maps if c.key == HOST_NAMES), "")
        found: dict[str, str] = {}
        for line in text.splitlines():
            address, *host_names = line.partition("#")[0].split() or [""]
            for name in host_names:
                found.setdefault(name, address)
        return found


def state_rank(conditions: EndpointConditions) -> tuple[bool, bool, bool]:
    """Return a key that sorts the better of two states of one endpoint higher (`netlab.proxy.endpoints`)."""
    fallback = not conditions.is_ready and conditions.is_serving and conditions.is_terminating
    return (conditions.is_ready, fallback, conditions.is_serving)


def _key(obj: Object) -> str:
    return obj.key
