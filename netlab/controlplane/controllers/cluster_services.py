"""Objects that every cluster has: system namespaces, Services `kubernetes` and `kube-dns`, names of the hosts.

    default/kubernetes      ClusterIP .1, port 443, its endpoint is the API server (semantics 4.2)
    kube-system/kube-dns    ClusterIP .10, ports 53 UDP and TCP, internalTrafficPolicy Local; one endpoint per node: the
                            DNS server there, so a pod asks its own node (docs/architecture.md)
    kube-system/coredns     ConfigMap; key NodeHosts names nodes and clients, in the form of /etc/hosts

A node or client with an invalid address or name has no line and no endpoint, and an Event reports it: lines of NodeHosts are
made of parsed values only, as every node's DNS server reads them.

Missing objects are created and their endpoints follow the nodes; a Service that the user changes is not restored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from netlab.api import values
from netlab.api.cluster import Namespace, Node
from netlab.api.config import ConfigMap
from netlab.api.discovery import Endpoint, EndpointConditions, EndpointPort
from netlab.api.lab import Lab
from netlab.api.meta import Labels, Object, ObjectMeta
from netlab.api.resources import NAMESPACES, SERVICES
from netlab.api.services import EndpointAddress, Endpoints, EndpointsPort, EndpointSubset, Service, ServicePort, ServiceSpec
from netlab.api.wellknown import (
    HOST_NAMES,
    HOST_NAMES_KEY,
    KUBE_DNS,
    KUBERNETES,
    SKIP_MIRROR_LABEL,
    SYSTEM_NAMESPACES,
    ZONE_LABEL,
    split_key,
)
from netlab.controlplane.controllers.naming import natural
from netlab.controlplane.controllers.ownership import owner_reference
from netlab.controlplane.controllers.per_object import Failed, Step, collect, each
from netlab.controlplane.controllers.slices import SliceSet, plan_slices
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, create, event, patch, update
from netlab.errors import InvalidValueError
from netlab.ipam import API_SERVER_PORT, AddressPlan

MANAGER = "netlab"
DNS_PORT = 53


def reconcile(world: World, now: str) -> list[Step]:
    """Return the writes that keep the cluster's own objects."""
    readable = [name for name in SYSTEM_NAMESPACES if not world.is_unreadable(NAMESPACES, name)]
    missing = [name for name in readable if name not in world.namespaces]
    if missing:  # first the namespaces, then what is in them
        return [create(Namespace(metadata=ObjectMeta(name=name))) for name in missing]
    if world.lab is None:
        return []
    plan = AddressPlan.of(world.lab)
    own = {service.key: service for service in services(plan)}
    steps: list[Step] = [create(service) for key, service in own.items() if _is_missing(world, key)]
    steps += each((*own.values(), world.lab), lambda obj: _part(world, plan, obj))
    return [*steps, *_unusable(world, now)]


def _part(world: World, plan: AddressPlan, obj: Object) -> list[Step]:
    """Return the writes for what belongs to a Service of the cluster, or to the lab: each part fails alone."""
    if obj.key == KUBERNETES:
        server = Endpoint(addresses=(plan.api_server,), conditions=EndpointConditions(ready=True))
        return [*_endpoints(world, KUBERNETES, [server])]
    if obj.key == KUBE_DNS:
        servers, failures = dns_endpoints(world)
        return [*failures, *_endpoints(world, KUBE_DNS, servers)]
    return [*_node_hosts(world, host_names(world, plan))]


def _is_missing(world: World, service: str) -> bool:
    return service not in world.services and not world.is_unreadable(SERVICES, service)


def services(plan: AddressPlan) -> tuple[Service, Service]:
    """Return Services `kubernetes` and `kube-dns` as they are made."""
    kubernetes = _service(
        KUBERNETES,
        {"component": "apiserver", "provider": "kubernetes"},
        ServiceSpec(
            cluster_ip=plan.kubernetes_service,
            ports=(ServicePort(name="https", port=443, target_port=API_SERVER_PORT),),
        ),
    )
    kube_dns = _service(
        KUBE_DNS,
        {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
        ServiceSpec(
            cluster_ip=plan.dns_service,
            internal_traffic_policy="Local",
            ports=tuple(ServicePort(name=n, port=DNS_PORT, protocol=p, target_port=DNS_PORT) for n, p in DNS_PORTS),
        ),
    )
    return kubernetes, kube_dns


DNS_PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))
ENDPOINT_PORTS: dict[str, tuple[EndpointPort, ...]] = {
    KUBERNETES: (EndpointPort(name="https", port=API_SERVER_PORT),),
    KUBE_DNS: tuple(EndpointPort(name=name, port=DNS_PORT, protocol=protocol) for name, protocol in DNS_PORTS),
}


def dns_endpoints(world: World) -> tuple[list[Endpoint], list[Failed]]:
    """Return the DNS server of every node, and the nodes that failed."""
    nodes = sorted(world.nodes.values(), key=lambda node: natural(node.metadata.name))
    found, failures = collect(nodes, _dns_endpoint)
    return [endpoint for endpoint in found if endpoint], failures


def _dns_endpoint(node: Node) -> Endpoint | None:
    if not node.internal_ip or node.metadata.deletion_timestamp is not None:
        return None
    return Endpoint(
        addresses=(node.internal_ip,),
        conditions=EndpointConditions(ready=True),
        node_name=node.metadata.name,
        zone=node.metadata.labels.get(ZONE_LABEL, ""),
    )


def host_names(world: World, plan: AddressPlan) -> str:
    """Return the addresses and names of nodes and clients, one host a line."""
    nodes = sorted(world.nodes.values(), key=lambda node: natural(node.metadata.name))
    hosts = [(node.internal_ip, (node.metadata.name,)) for node in nodes if node.internal_ip]
    lines = filter(None, (_line(address, names) for address, names in (*hosts, *_clients(world.lab, plan))))
    return "".join(f"{line}\n" for line in lines)


def _clients(lab: Lab | None, plan: AddressPlan) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield address and names of the clients: where they are, as the lab controller reports once it has created them."""
    made = {host.name: host.address for host in lab.status.hosts if host.is_client and host.address} if lab else {}
    for index, client in enumerate(lab.spec.clients if lab else (), start=1):
        yield made.get(client.name) or plan.client(index), (client.name, *client.hostnames)


def _line(address: str, names: Iterable[str]) -> str:
    """Return a line of a hosts file, empty when any of it cannot be what it should."""
    try:
        parsed = [values.host_name(name, "a name") for name in dict.fromkeys(names)]
        return " ".join((values.unicast(address, "an address"), *parsed))
    except InvalidValueError:
        return ""


def _unusable(world: World, now: str) -> Iterator[Write]:
    """Yield an Event for every node that has something in the place of its address."""
    for node in world.nodes.values():
        if node.has_address and not node.internal_ip:
            text = next(a.address for a in node.status.addresses if a.type == "InternalIP")
            message = f"The node has no name in DNS: its InternalIP {values.shown(text)} is not the address of a host."
            yield event(node, now, reason="InvalidAddress", message=message, component=MANAGER, warning=True)


def _service(key: str, labels: Labels, spec: ServiceSpec) -> Service:
    namespace, name = key.split("/")
    return Service(metadata=ObjectMeta(namespace=namespace, name=name, labels=labels), spec=spec)


def _endpoints(world: World, key: str, wanted: Iterable[Endpoint]) -> list[Write]:
    """Return the writes for the slices and the Endpoints of one of these Services, once it is there."""
    service = world.services.get(key)
    if service is None or service.spec.selector:
        return []
    common = SliceSet(
        namespace=service.metadata.namespace,
        service=service.metadata.name,
        managed_by=MANAGER,
        owner=owner_reference(service),
        labels=service.metadata.labels,
        annotations={},
    )
    endpoints = list(wanted)
    in_use = world.slice_names(common.namespace)
    groups = {ENDPOINT_PORTS[key]: endpoints} if endpoints else {}
    writes = plan_slices(common, groups, world.slices_by_service.get(key, []), in_use)
    return writes + _old_endpoints(world, service, endpoints)


def _old_endpoints(world: World, service: Service, endpoints: list[Endpoint]) -> list[Write]:
    """Return the write for the Endpoints object, marked as not to be mirrored: the slices are there already."""
    addresses = tuple(EndpointAddress(ip=e.addresses[0], node_name=e.node_name) for e in endpoints)
    ports = tuple(EndpointsPort(name=p.name, port=p.port or 0, protocol=p.protocol) for p in ENDPOINT_PORTS[service.key])
    subsets = (EndpointSubset(addresses=addresses, ports=ports),) if addresses else ()
    present = world.endpoints.get(service.key)
    if present is None:
        meta = ObjectMeta(namespace=service.metadata.namespace, name=service.metadata.name, labels={SKIP_MIRROR_LABEL: "true"})
        return [create(Endpoints(metadata=meta, subsets=subsets))]
    return [] if present.subsets == subsets else [update(msgspec.structs.replace(present, subsets=subsets))]


def _node_hosts(world: World, text: str) -> list[Write]:
    present = world.config_maps.get(HOST_NAMES)
    if present is None:
        namespace, name = split_key(HOST_NAMES)
        return [create(ConfigMap(metadata=ObjectMeta(namespace=namespace, name=name), data={HOST_NAMES_KEY: text}))]
    return [] if present.data.get(HOST_NAMES_KEY) == text else [patch(present, {"data": {HOST_NAMES_KEY: text}})]
