"""The checks of DNS: what every name must resolve to, asked from every node and from one pod of every node (semantics 11).

For each Service: A, AAAA (NODATA: the name exists, the type does not), PTR of its ClusterIP, SRV of its named ports;
CNAME for ExternalName; one A per ready endpoint for headless, NXDOMAIN without any, and PTR of the endpoints. Then names of
hosts, a name that does not exist, and some of them again over TCP. Pods also look up the short names (`blue`,
`blue.default`, `blue.default.svc`) with their own resolv.conf. In a big cluster the Services are dealt out to the sources.

Nodes and clients have the DNS server on the edge for their resolver. It knows the lab's hosts and nothing of the cluster's zone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from netlab.api.discovery import Endpoint
from netlab.api.services import Service
from netlab.ipam import AddressPlan
from netlab.probe.plan import choose
from netlab.probe.plan.checks import Ask, Check, Expectation, Kind, LookUp, Place
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.services import domain_name
from netlab.probe.plan.snapshot import Snapshot

FEW_SERVICES = 12
FEW_HOSTS = 4
SOME_HOSTS = 6  # of many nodes or clients, those that ask their resolver
FOUND, MISSING = ("NOERROR",), ("NXDOMAIN",)
ANY_ANSWER = ("NOERROR", "NXDOMAIN", "SERVFAIL")  # of a CNAME whose target nobody in the lab knows
ABSENT = "no-such-service"


@dataclass(frozen=True)
class Question:
    """A question and what must come back."""

    name: str
    type: str
    answers: frozenset[str] = frozenset()
    codes: tuple[str, ...] = FOUND
    exact: bool = True
    transports: tuple[str, ...] = ("UDP",)
    subject: str = ""

    @property
    def is_service(self) -> bool:
        """Tell whether the name is a Service's own, not one below it."""
        return bool(self.subject) and self.name.split(".")[2:3] == ["svc"]

    @property
    def expectation(self) -> Expectation:
        return Expectation((Outcome.ALLOWED,), answers=self.answers, exact=self.exact, response_codes=self.codes)


def checks(snapshot: Snapshot) -> Iterator[Check]:
    """Return the DNS checks, none of the cluster's DNS when the lab has no kube-dns Service."""
    yield from _of_hosts(snapshot)
    if not snapshot.dns_address:
        return
    sources = (*snapshot.node_places, *snapshot.one_pod_per_node())
    of_services = [tuple(questions(snapshot, s)) for s in snapshot.services]
    always = tuple(common_questions(snapshot))
    searching = _searching(snapshot)
    for number, source in enumerate(sources):
        mine = of_services if len(of_services) <= FEW_SERVICES else of_services[number :: len(sources)]
        for question in (*always, *(q for group in mine for q in group)):
            for transport in question.transports:
                action = Ask(transport, snapshot.dns_address, question.name, question.type)
                target = f"{question.name.rstrip('.')}:{question.type}"
                yield Check(f"dns-{source.kind.value}", source, action, question.expectation, target, question.subject)
        if source.kind is Kind.POD and source.name in searching:
            yield from short_names(source, tuple(q for group in mine for q in group))


def _of_hosts(snapshot: Snapshot) -> Iterator[Check]:
    """Ask the resolver of nodes and clients for a host, and for a Service, which it must not know (semantics 11.21)."""
    server = AddressPlan.of(snapshot.lab).edge_underlay
    questions = [Question(f"{name}.", "A", frozenset({f"A {address}"})) for name, address in list(snapshot.hosts.items())[:1]]
    if not snapshot.lab.spec.dns.upstream:  # it may know any name
        questions.append(Question(f"kubernetes.default.svc.{snapshot.zone}.", "A", codes=MISSING))
    for source in (*choose.some(snapshot.node_places, SOME_HOSTS), *choose.some(snapshot.client_places, SOME_HOSTS)):
        where = "outside" if source.kind is Kind.CLIENT else source.kind.value
        for question in questions:
            target = f"{question.name.rstrip('.')}:{question.type}"
            for transport in ("UDP", "TCP"):
                action = Ask(transport, server, question.name, question.type, stays=False)
                yield Check(f"dns-{where}-resolver", source, action, question.expectation, target)


def short_names(source: Place, asked: Iterable[Question]) -> Iterator[Check]:
    """Look up every Service's address by the names that programs use: `blue` within its namespace, `blue.default` anywhere."""
    own = source.name.partition("/")[0]
    for question in asked:
        if question.type != "A" or not question.answers or not question.is_service:
            continue
        labels = question.name.split(".")
        for many in (1, 2, 3) if labels[1] == own else (2, 3):
            name = ".".join(labels[:many])
            yield Check("dns-search", source, LookUp(name), question.expectation, f"{name}:A", question.subject)


def _searching(snapshot: Snapshot) -> frozenset[str]:
    """Return the pods whose resolver has the cluster's search list (semantics 11.21); pods with hostNetwork are not asked."""
    policies = {"", "ClusterFirst", "ClusterFirstWithHostNet"}
    return frozenset(p.key for p in snapshot.live_pods if p.spec.dns_policy in policies)


def common_questions(snapshot: Snapshot) -> Iterator[Question]:
    """Ask for what every cluster has: hosts, empty names, missing names."""
    zone = snapshot.zone
    for name, address in list(snapshot.hosts.items())[:FEW_HOSTS]:
        yield Question(f"{name}.", "A", frozenset({f"A {address}"}))
    yield Question(f"{ABSENT}.default.svc.{zone}.", "A", codes=MISSING, transports=("UDP", "TCP"))
    yield Question(f"{ABSENT}.no-such-namespace.svc.{zone}.", "A", codes=MISSING)
    yield Question(f"default.svc.{zone}.", "A")  # an existing namespace: the name exists, without addresses (11.12)


def questions(snapshot: Snapshot, service: Service) -> Iterator[Question]:
    """Return the questions about one Service."""
    maker = _external_name if service.spec.type == "ExternalName" else _headless if service.headless else _cluster_ip
    yield from maker(snapshot, service)


def _cluster_ip(snapshot: Snapshot, service: Service) -> Iterator[Question]:
    name, address, key = domain_name(snapshot, service), service.spec.cluster_ip, service.key
    if not address:
        return
    yield Question(name, "A", frozenset({f"A {address}"}), transports=("UDP", "TCP"), subject=key)
    yield Question(name, "AAAA", subject=key)
    reverse = ipaddress.ip_address(address).reverse_pointer
    yield Question(f"{reverse}.", "PTR", frozenset({f"PTR {name}"}), subject=key)
    for port in service.spec.ports:
        if port.name:  # SRV records exist for named ports only (semantics 11.2)
            srv = f"_{port.name}._{port.protocol.lower()}.{name}"
            yield Question(srv, "SRV", frozenset({f"SRV {port.port} {name}"}), subject=key)


def _headless(snapshot: Snapshot, service: Service) -> Iterator[Question]:
    name, key = domain_name(snapshot, service), service.key
    ready = _ready_endpoints(snapshot, service)
    codes = FOUND if ready else MISSING  # semantics 11.10
    yield Question(name, "A", frozenset(f"A {a}" for a in ready), codes, transports=("UDP", "TCP"), subject=key)
    yield Question(name, "AAAA", codes=codes, subject=key)
    for port in service.spec.ports:
        backends = [b for b in snapshot.backends(service, port) if b.endpoint.conditions.is_ready]
        if port.name and backends:
            answers = frozenset(f"SRV {b.port} {endpoint_hostname(b.endpoint, b.address)}.{name}" for b in backends)
            yield Question(f"_{port.name}._{port.protocol.lower()}.{name}", "SRV", answers, subject=key)
    for address, endpoint in list(ready.items())[:FEW_HOSTS]:
        hostname = endpoint_hostname(endpoint, address)
        yield Question(f"{hostname}.{name}", "A", frozenset({f"A {address}"}), exact=False, subject=key)
        reverse = ipaddress.ip_address(address).reverse_pointer
        if address not in snapshot.hosts.values():  # one name per Service that has the endpoint (semantics 11.7)
            yield Question(f"{reverse}.", "PTR", frozenset({f"PTR {hostname}.{name}"}), exact=False, subject=key)


def _ready_endpoints(snapshot: Snapshot, service: Service) -> dict[str, Endpoint]:
    found: dict[str, Endpoint] = {}
    for piece in snapshot.slices_of(service):
        found.update({a: e for e in piece.endpoints if e.conditions.is_ready for a in e.addresses[:1]})
    return found


def endpoint_hostname(endpoint: Endpoint, address: str) -> str:
    """Return an endpoint's label below its Service's name: its hostname, or its address with dashes (semantics 11.4)."""
    return endpoint.hostname or address.replace(".", "-")


def _external_name(snapshot: Snapshot, service: Service) -> Iterator[Question]:
    """A CNAME, followed by the target's address where the lab knows it (semantics 11.9)."""
    name, target = domain_name(snapshot, service), service.spec.external_name.rstrip(".")
    if _is_address(target):
        yield Question(name, "A", codes=MISSING, subject=service.key)
        return
    address = _address_of(snapshot, target)
    answers = {f"CNAME {target}."} | ({f"A {address}"} if address else set())
    yield Question(name, "A", frozenset(answers), FOUND if address else ANY_ANSWER, exact=bool(address), subject=service.key)


def _address_of(snapshot: Snapshot, name: str) -> str:
    if name in snapshot.hosts:
        return snapshot.hosts[name]
    return next((s.spec.cluster_ip for s in snapshot.services
                 if domain_name(snapshot, s) == f"{name}." and s.spec.cluster_ip not in {"", "None"}), "")  # fmt: skip


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
