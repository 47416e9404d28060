"""The checks of Services: every way in, from every kind of place, each with the backends that must answer.

For each Service port. "All backends" means: connect until every expected backend has answered (bounded by the runner).

    way in           sources, all backends                sources, one connection
    ClusterIP        one pod per node, every node         the other pods; one pod and the node per node by DNS name
    (hairpin)        every backend pod until it hits itself
    NodePort         first client, through every node     other clients; one pod per node and every node, through every node
    LoadBalancer     first client, all nodes too          other clients; one pod per node, every node
    externalIPs      -                                    one pod per node, every node; clients when it is a node's address
    headless         -                                    one pod per node to every endpoint
    ExternalName     -                                    one pod per node, when the target is a host of the lab
    unused port      -                                    node to every ClusterIP, pod to the first; first client to each
                                                          load balancer address: refused
    unassigned       -                                    one pod per node, every node, to an address no Service has: dropped

kube-dns is left to `names`, which talks DNS to it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from netlab.api.services import Service, ServicePort
from netlab.api.wellknown import HEADLESS_LABEL, KUBE_DNS, PROXY_NAME_LABEL
from netlab.probe.plan import choose
from netlab.probe.plan.checks import Check, Kind, Place, Reach, Talk, Visit
from netlab.probe.plan.expectation import Access, Entry, arrivals, direct, through_service, unassigned_address, unused_port
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.snapshot import Snapshot
from netlab.proxy.remarks import Claimed

NOT_PROXIED = frozenset({PROXY_NAME_LABEL, HEADLESS_LABEL})  # semantics 4.17
PROTOCOLS = frozenset({"TCP", "UDP"})
MANY_NODES = 4  # beyond so many, pods and nodes use the NodePort of their own and the next node only
MANY_PODS = choose.ALL_PAIRS
TALKS = {"pause": Talk.SILENT}


def checks(snapshot: Snapshot) -> Iterator[Check]:
    """Return the checks of all Services."""
    for service in snapshot.services:
        if service.key == KUBE_DNS or NOT_PROXIED & service.metadata.labels.keys():
            continue
        if service.spec.type == "ExternalName":
            yield from external_name(snapshot, service)
        elif service.headless:
            yield from headless(snapshot, service)
        elif service.spec.cluster_ip:
            for port in service.spec.ports:
                if port.protocol in PROTOCOLS:
                    yield from _cluster_ip(snapshot, service, port)
                    yield from _hairpin(snapshot, service, port)
                    yield from _node_port(snapshot, service, port)
                    yield from _load_balancer(snapshot, service, port)
                    yield from _external_ips(snapshot, service, port)
    yield from _unused_ports(snapshot)
    yield from _unassigned(snapshot)


def domain_name(snapshot: Snapshot, service: Service) -> str:
    """Return a Service's name in the cluster's DNS (semantics 11.1)."""
    return f"{service.metadata.name}.{service.metadata.namespace}.svc.{snapshot.zone}."


def label(service: Service, port: ServicePort, address: str = "") -> str:
    """Return how a check's id names a Service's port: `default/blue:80`, `default/blue:80@10.96.0.5`."""
    return f"{service.key}:{port.port}{'@' if address else ''}{address}"


def sources(snapshot: Snapshot) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
    """Return the sources whose node's rules are exercised in full, and those that connect once."""
    first = snapshot.one_pod_per_node()
    names = {place.name for place in first}
    rest = [place for place in snapshot.pod_places if place.name not in names]
    return (*first, *snapshot.node_places), tuple(choose.some(rest, MANY_PODS))


def visit(snapshot: Snapshot, path: str, access: Access, *, every: bool = False, name: str = "") -> Check:
    """Return the check of one access."""
    service, port = access.service, access.port
    number, target = port.port, name.rstrip(".") or access.address
    if access.entry is Entry.NODE_PORT:
        number, target = port.node_port, f"{access.via}:{port.node_port}"
    expected = through_service(snapshot, access)
    allowed = expected.outcome is Outcome.ALLOWED
    sticky = bool(service.affinity_timeout) and allowed
    everything = every and allowed and not sticky
    if everything or sticky:
        nodes = balanced_nodes(snapshot, access) if everything else frozenset()
        expected = replace(expected, every=everything, sticky=sticky, nodes=nodes)
    backends = snapshot.backends(service, port)
    action = Visit(
        protocol=port.protocol,
        address=access.address,
        port=number,
        talk=talk(snapshot, service, port),
        name=name,
        stand_ins=tuple((b.place, b.port) for b in backends if b.place.kind is Kind.CLIENT),
    )
    return Check(path, access.source, action, expected, label(service, port, target), service.key)


def balanced_nodes(snapshot: Snapshot, access: Access) -> frozenset[str]:
    """Return the nodes that the load balancer must be seen to choose, for a client: all that would serve it."""
    if access.entry is not Entry.LOAD_BALANCER or access.source.kind is not Kind.CLIENT:
        return frozenset()
    return frozenset(a.ruler for a in arrivals(snapshot, access))


def talk(snapshot: Snapshot, service: Service, port: ServicePort) -> Talk:
    """Return how to speak to the workloads behind a port: only as all of them understand."""
    key = (service.key, port.name, port.protocol)
    if key not in snapshot.talks:
        snapshot.talks[key] = _talk(snapshot, service, port)
    return snapshot.talks[key]


def _talk(snapshot: Snapshot, service: Service, port: ServicePort) -> Talk:
    found = set()
    for backend in snapshot.backends(service, port):
        workload = snapshot.workload_at(backend, port.protocol)
        if workload is None:
            found.add(Talk.SILENT)
        elif port.protocol == "UDP":
            found.add({"echo": Talk.ECHO, "agnhost": Talk.AGNHOST}.get(workload.server, Talk.SILENT))
        else:
            found.add(TALKS.get(workload.server, Talk.HTTP))
    return found.pop() if len(found) == 1 else Talk.SILENT


def _cluster_ip(snapshot: Snapshot, service: Service, port: ServicePort) -> Iterator[Check]:
    address = service.spec.cluster_ip
    full, once = sources(snapshot)
    for source, every in (*((place, True) for place in full), *((place, False) for place in once)):
        access = Access(source, service, port, Entry.CLUSTER_IP, address)
        yield visit(snapshot, f"{source.kind.value}-cluster-ip", access, every=every)
    for source in full if snapshot.dns_address else ():
        access = Access(source, service, port, Entry.CLUSTER_IP, address)
        check = visit(snapshot, f"{source.kind.value}-cluster-ip-by-name", access, name=domain_name(snapshot, service))
        if check.expectation.outcome is Outcome.ALLOWED:
            yield check


def _hairpin(snapshot: Snapshot, service: Service, port: ServicePort) -> Iterator[Check]:
    """A pod reaches itself through its own Service (semantics 6.8). Under affinity another pod may have been chosen for it."""
    if service.affinity_timeout:
        return
    pods = [b for b in snapshot.backends(service, port) if b.place.kind is Kind.POD]
    chosen = {p.name for p in choose.some([b.place for b in pods], MANY_PODS)}
    for backend in pods:
        if backend.place.name not in chosen:
            continue
        access = Access(backend.place, service, port, Entry.CLUSTER_IP, service.spec.cluster_ip)
        check = visit(snapshot, "hairpin", access)
        if backend.key in check.expectation.sources:
            yield replace(check, expectation=replace(check.expectation, until=backend.key))


def _through(snapshot: Snapshot, source: Place) -> tuple[Place, ...]:
    """Return the nodes whose NodePort a source tries."""
    nodes = snapshot.node_places
    if source.kind is Kind.CLIENT or len(nodes) <= MANY_NODES:
        return nodes
    own = next(i for i, n in enumerate(nodes) if n.name == source.node)
    return nodes[own], nodes[(own + 1) % len(nodes)]


def _node_port(snapshot: Snapshot, service: Service, port: ServicePort) -> Iterator[Check]:
    if not port.node_port:
        return
    clients = snapshot.client_places
    for source in (*clients, *snapshot.one_pod_per_node(), *snapshot.node_places):
        where = "outside" if source.kind is Kind.CLIENT else source.kind.value
        for node in _through(snapshot, source):
            access = Access(source, service, port, Entry.NODE_PORT, node.address, node.name)
            yield visit(snapshot, f"{where}-node-port", access, every=source in clients[:1])


def _load_balancer(snapshot: Snapshot, service: Service, port: ServicePort) -> Iterator[Check]:
    clients = snapshot.client_places
    for ingress in service.status.load_balancer.ingress:
        if not ingress.ip or ingress.ip_mode == "Proxy":  # nothing captures a Proxy address in the cluster (semantics 4.11)
            continue
        inside = (*snapshot.one_pod_per_node(), *snapshot.node_places)
        for source in (*clients, *inside):
            where = "outside" if source.kind is Kind.CLIENT else source.kind.value
            access = Access(source, service, port, Entry.LOAD_BALANCER, ingress.ip)
            yield visit(snapshot, f"{where}-load-balancer", access, every=source in clients[:1])


def _external_ips(snapshot: Snapshot, service: Service, port: ServicePort) -> Iterator[Check]:
    """Any node that gets a packet for an external address serves it (semantics 4.12); the outside finds only nodes' own."""
    nodes = {n.address: n.name for n in snapshot.node_places}
    for address in service.spec.external_ips:
        if Claimed(service.key, address, port.protocol, port.port) in snapshot.lost_claims:
            continue  # it leads to another Service, which has checks of its own
        via = nodes.get(address, "")
        for source in (*(snapshot.client_places if via else ()), *snapshot.one_pod_per_node(), *snapshot.node_places):
            where = "outside" if source.kind is Kind.CLIENT else source.kind.value
            # A packet to a node's own address is routed like any other to that node, unless it meets rules before:
            # the sender's node catches it first, whoever has the address.
            caught_by = via if source.kind is Kind.CLIENT else ""
            access = Access(source, service, port, Entry.EXTERNAL_IP, address, caught_by)
            yield visit(snapshot, f"{where}-external-ip", access)


def _unused_ports(snapshot: Snapshot) -> Iterator[Check]:
    """A port that a Service does not have is refused, where the address is ruled (semantics 8.5): nothing else is behind it."""
    served = [s for s in snapshot.services if s.spec.cluster_ip and not s.headless and s.key != KUBE_DNS]
    some_nodes = choose.some(snapshot.node_places, MANY_NODES)
    for service in served:
        pods = snapshot.one_pod_per_node()[:MANY_NODES] if service is served[0] else ()
        clients = snapshot.client_places[:1]
        ways = [(source, Entry.CLUSTER_IP, service.spec.cluster_ip) for source in (*some_nodes, *pods)]
        balancers = service.status.load_balancer.ingress
        ways += [(c, Entry.LOAD_BALANCER, i.ip) for c in clients for i in balancers if i.ip and i.ip_mode != "Proxy"]
        for source, entry, address in ways:
            port = ServicePort(port=_free_port(service))
            expected = unused_port(Access(source, service, port, entry, address))
            where = "outside-load-balancer" if entry is Entry.LOAD_BALANCER else f"{source.kind.value}-cluster-ip"
            action = Visit("TCP", address, port.port)
            yield Check(f"{where}-unused-port", source, action, expected, label(service, port, address), service.key)


def _free_port(service: Service) -> int:
    """Return the lowest port that a Service does not have."""
    used = {p.port for p in service.spec.ports}
    return next(number for number in count(1) if number not in used)


def _unassigned(snapshot: Snapshot) -> Iterator[Check]:
    """An address of the Service range that no Service has leads nowhere: nothing of it leaves the node."""
    used = {s.spec.cluster_ip for s in snapshot.services}
    subnet = ipaddress.ip_network(snapshot.lab.spec.networking.service_subnet)
    address = next((str(subnet[-n]) for n in range(2, min(subnet.num_addresses, 64)) if str(subnet[-n]) not in used), "")
    places = (*snapshot.one_pod_per_node(), *snapshot.node_places)
    for source in choose.some(places, 2 * MANY_NODES) if address and snapshot.services else ():
        path = f"{source.kind.value}-unassigned-cluster-ip"
        yield Check(path, source, Visit("TCP", address, 80), unassigned_address(source), f"{address}:80")


def headless(snapshot: Snapshot, service: Service) -> Iterator[Check]:
    """No proxy: DNS gives the endpoints (`names`), and each of them answers directly (semantics 4.16)."""
    for port in service.spec.ports:
        for backend in snapshot.backends(service, port):
            if not backend.endpoint.conditions.is_ready or backend.place.kind is Kind.NOWHERE:
                continue
            for source in choose.some(snapshot.one_pod_per_node(), MANY_NODES):
                seen = direct(snapshot, source, backend.place)
                expected = replace(seen, sources={backend.key: seen.sources[""]})
                stand_ins = ((backend.place, backend.port),) if backend.place.kind is Kind.CLIENT else ()
                how = talk(snapshot, service, port)
                name = domain_name(snapshot, service) if snapshot.dns_address else ""
                action = Visit(port.protocol, backend.address, backend.port, how, name, stand_ins)
                yield Check("pod-headless", source, action, expected, label(service, port, backend.address), service.key)


def external_name(snapshot: Snapshot, service: Service) -> Iterator[Check]:
    """DNS answers with a CNAME (`names`); when its target is a host of the lab, a pod reaches it by the Service's name."""
    address = snapshot.hosts.get(service.spec.external_name.rstrip("."), "")
    target = snapshot.place_at(address)
    if target.kind not in {Kind.CLIENT, Kind.NODE}:
        return
    for source in choose.some(snapshot.one_pod_per_node(), MANY_NODES):
        action = Reach("TCP", target, name=domain_name(snapshot, service))
        yield Check("pod-external-name", source, action, direct(snapshot, source, target), service.key, service.key)
