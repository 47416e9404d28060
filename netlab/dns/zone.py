"""The cluster's zone: the answer to a question (semantics 11; Kubernetes' DNS specification 1.1.0). Pure.

Theory. A name of the zone is read from the right, like a path, and every step either exists or does not:

    cluster.local                               SOA, NS
      dns-version                               TXT "1.1.0"
      dns / ns                                  the name server's address
      svc / <namespace> / <service>             netlab.dns.records
                            / <endpoint>
                            / _tcp / _http      SRV
      pod / <namespace> / 10-244-1-2            that address ("insecure": unchecked, as kubeadm sets CoreDNS up)

Four answers, which clients distinguish (musl gives up on the wrong one, semantics 18.15):
1. the name exists and has the type asked for: records;
2. it exists without that type: NODATA, which is NOERROR, no answer, the SOA in the authority section. Names that only
   have names below them (`svc.cluster.local`, `<namespace>.svc.cluster.local`) are of this kind;
3. it does not exist: NXDOMAIN, the SOA in the authority section;
4. it is not ours: other servers of the lab are asked (`forwarding`). Without any, NXDOMAIN too, with a SOA of the root, not
   authoritative, and an extended error with the reason. A lab asks no server of the internet: no packet of it may leave the
   machine (principle 2). REFUSED would end a resolver's walk through a search list, and a misspelled name would be a
   "temporary failure" (semantics 11.23).

Outside the zone it resolves the lab's hosts (ConfigMap kube-system/coredns, key NodeHosts) in both directions, addresses of
Services and endpoints backwards; everything else in the reverse zones of private and documentation addresses does
not exist (RFC 6303: a server without upstream must answer for these itself).

What would surprise you:
- An alias (ExternalName) is the answer to every type; its target is looked up here and appended. When the target is ours
  and does not exist, the whole answer is NXDOMAIN (RFC 6604); when it is in another zone, the answer contains only the alias.
- A cluster IP's PTR names its Service only, even where an endpoint has the same address. Other addresses have a PTR for
  the host and one for each Service they serve.
- A zone is a value. `build(previous=...)` reuses the subtree of each Service that is the same object as before, so that
  a change of one Service among ten thousand costs a walk over references.
- Nothing here is random: the order of several addresses is turned by the number that the server passes in (11.27).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import dns.name
import dns.rcode
from dns.rdatatype import RdataType

from netlab.api.cluster import Namespace
from netlab.api.discovery import EndpointSlice
from netlab.api.pods import Pod
from netlab.api.services import Service
from netlab.api.wellknown import KUBE_DNS
from netlab.containment import Contained
from netlab.dns.answers import LARGEST_MESSAGE, Answer, Asked, Forward, Node, Origin, forwarded, nothing, respond
from netlab.dns.forwarding import NO_FORWARDING, Forwarding, addresses_of
from netlab.dns.hosts import Hosts, parse_hosts
from netlab.dns.records import ServiceRecord, ServiceRecords, check_slice, service_records, undashed
from netlab.dns.reverse import address_of, reverse_zone

VERSION = "1.1.0"  # of Kubernetes' DNS specification
VERSION_TTL = 28800
LONGEST_CHAIN = 8  # aliases followed for one question; CoreDNS' limit
NAME_SERVER = KUBE_DNS  # the Service whose address the zone's NS record leads to
OUTSIDE = "."  # the domain of a zone without a cluster
EMPTY = Node()  # exists, holds nothing itself

Labels = tuple[str, ...]  # of a name below the zone's apex, lower case, from the right


@dataclass(frozen=True)
class Source:
    """What one Service's records were made from, by identity: the same objects make the same records."""

    service: Service
    slices: tuple[EndpointSlice, ...]
    records: ServiceRecords | None
    refused: Mapping[str, Exception] = field(default_factory=dict)  # `service ns/name`, `endpointslice ns/name` -> why
    nodes: dict[Labels, Node] = field(default_factory=dict)  # of names that were asked for, and exist

    @classmethod
    def of(cls, service: Service, slices: tuple[EndpointSlice, ...]) -> Source:
        """Compute a Service's records; an object that does not parse is left out alone."""
        refused: dict[str, Exception] = {}
        sound: list[EndpointSlice] = []
        for piece in slices:
            with Contained() as checked:
                check_slice(piece)
                sound.append(piece)
            if checked.error:
                refused[f"endpointslice {piece.key}"] = checked.error
        records = None
        with Contained() as computed:
            records = service_records(service, sound)
        if computed.error:
            refused[f"service {service.key}"] = computed.error
        return cls(service, slices, records, refused)

    def still(self, service: Service, slices: tuple[EndpointSlice, ...]) -> bool:
        """Return whether the records are up to date."""
        same = self.service is service and len(self.slices) == len(slices)
        return same and all(a is b for a, b in zip(self.slices, slices, strict=True))


@dataclass(frozen=True)
class Zone:
    """One state of the cluster's names. Build it with `Zone.build`, ask it with `answer`."""

    origin: Origin
    sources: Mapping[str, Source] = field(default_factory=dict)
    namespaces: frozenset[str] = frozenset()
    hosts: Hosts = field(default_factory=Hosts)
    pod_addresses: frozenset[tuple[str, str]] | None = None  # (namespace, address) in mode "verified"
    pod_mode: str = "insecure"
    forwarding: Forwarding = NO_FORWARDING

    @classmethod
    def build(
        cls,
        domain: str,
        services: Iterable[Service],
        endpoint_slices: Iterable[EndpointSlice],
        namespaces: Iterable[Namespace],
        pods: Iterable[Pod] = (),
        *,
        node_hosts_text: str = "",
        ttl: int = 30,
        serial: int = 1,
        pod_mode: str = "insecure",
        forwarding: Forwarding = NO_FORWARDING,
        previous: Zone | None = None,
    ) -> Zone:
        """Compute the zone from API objects.

        Args:
            domain: the cluster's domain, `cluster.local`.
            services: all Services.
            endpoint_slices: all EndpointSlices.
            namespaces: all Namespaces.
            pods: all Pods; only pod_mode "verified" looks at them.
            node_hosts_text: hosts-file text of the lab's hosts.
            ttl: seconds an answer may be kept, also a negative one (semantics 11.16).
            serial: of the SOA, if anything changed; a resourceVersion will do.
            pod_mode: "disabled", "insecure" or "verified" (semantics 11.14).
            forwarding: the other servers that are asked (semantics 11.25).
            previous: an older zone, to reuse what has not changed; it is returned itself when nothing has.
        """
        slices: dict[str, list[EndpointSlice]] = {}
        for endpoint_slice in endpoint_slices:
            slices.setdefault(endpoint_slice.service_key, []).append(endpoint_slice)
        old = previous.sources if previous else {}
        sources: dict[str, Source] = {}
        for service in services:
            own = tuple(slices.get(service.key, ()))
            source = old.get(service.key)
            if source is None or not source.still(service, own):
                source = Source.of(service, own)
            sources[service.key] = source
        zone = cls(
            origin=Origin(dns.name.from_text(domain.lower()), ttl, serial),
            sources=sources,
            namespaces=frozenset(namespace.metadata.name for namespace in namespaces),
            hosts=parse_hosts(node_hosts_text),
            pod_addresses=_living(pods) if pod_mode == "verified" else None,
            pod_mode=pod_mode,
            forwarding=forwarding,
        )
        return previous if previous and zone.says_the_same(previous) else zone

    @property
    def refused(self) -> dict[str, Exception]:
        """The objects that are left out, and why."""
        return {name: error for source in self.sources.values() if source.refused for name, error in source.refused.items()}

    @classmethod
    def outside(
        cls, node_hosts_text: str, *, serial: int = 1, forwarding: Forwarding = NO_FORWARDING, previous: Zone | None = None
    ) -> Zone:
        """Compute what is known outside the cluster: the lab's hosts, and no name of the cluster's zone (semantics 11.21)."""
        return cls.build(
            OUTSIDE, (), (), (), node_hosts_text=node_hosts_text, serial=serial, forwarding=forwarding, previous=previous
        )  # fmt: skip

    @property
    def _has_cluster(self) -> bool:
        return bool(self.origin.name != dns.name.root)

    def says_the_same(self, other: Zone) -> bool:
        """Return whether two zones give the same answers but for the serial, which moves only when the content does."""
        same_sources = len(self.sources) == len(other.sources) and all(
            other.sources.get(key) is source for key, source in self.sources.items()
        )
        return (
            same_sources
            and replace(self, sources={}, origin=other.origin) == replace(other, sources={})
            and ((self.origin.name, self.origin.ttl) == (other.origin.name, other.origin.ttl))
        )

    def answer(
        self, qname: dns.name.Name | str, qtype: RdataType | str, rotation: int = 0, room: int = LARGEST_MESSAGE
    ) -> Answer:  # fmt: skip
        """Answer a question of class IN. `rotation` turns the order of several addresses.

        Of more records than fit into `room` bytes the answer has one more than fit.
        """
        name = dns.name.from_text(qname) if isinstance(qname, str) else qname
        kind = RdataType.from_text(qtype) if isinstance(qtype, str) else qtype
        chain: list[tuple[dns.name.Name, Node]] = []
        while len(chain) < LONGEST_CHAIN and all(name != seen for seen, _ in chain):
            origin = self._authority(name)
            node = self._find(name, origin)
            if servers := self._servers(name, node, origin):
                return forwarded(chain, origin, Forward(name, kind, servers))
            if node is None:
                return nothing(chain, origin, dns.rcode.NXDOMAIN)
            chain.append((name, node))
            if not node.alias or kind == RdataType.CNAME:
                return respond(chain, origin, Asked(kind, rotation, room), self.addresses)
            name = dns.name.from_text(node.alias)
        return nothing(chain, self.origin, dns.rcode.NOERROR)

    def _servers(self, name: dns.name.Name, node: Node | None, origin: Origin) -> tuple[str, ...]:
        """The addresses of the servers for a name, none for the lab's own: a host's, or the cluster's."""
        if name.to_text(omit_final_dot=True).lower() in self.hosts.addresses:
            return ()
        servers = self.forwarding.stub_servers(name, origin.name)
        if not servers and (node is None or node is EMPTY) and origin.name == dns.name.root:
            servers = self.forwarding.upstream
        return addresses_of(servers, self.hosts)

    def addresses(self, name: dns.name.Name) -> tuple[str, ...]:
        """Return the addresses of a name, for the additional section (semantics 11.29)."""
        node = self._find(name, self._authority(name))
        return node.addresses if node else ()

    def _authority(self, name: dns.name.Name) -> Origin:
        """The zone that a name belongs to: the cluster's, a local reverse zone, else the root."""
        if self._has_cluster and name.is_subdomain(self.origin.name):
            return self.origin
        return Origin(reverse_zone(name) or dns.name.root, self.origin.ttl, self.origin.serial)

    def _find(self, name: dns.name.Name, origin: Origin) -> Node | None:
        """The node at a name, None when there is none. Hosts are asked first, as CoreDNS' plugin order has it."""
        text = name.to_text(omit_final_dot=True).lower()
        if text in self.hosts.addresses:
            return Node(addresses=self.hosts.addresses[text])
        if origin is self.origin:
            labels = name.relativize(self.origin.name).labels
            return self._below(tuple(label.decode("ascii", "replace").lower() for label in reversed(labels)))
        address = address_of(name)
        if address and (pointers := self._pointers(address)):
            return Node(pointers=pointers)
        if name == origin.name:
            return Node(is_apex=True)
        leads_on = self._leads_to_pointers(text) if text.endswith(".arpa") else text in self._parents_of_hosts
        return EMPTY if leads_on else None

    def _below(self, labels: Labels) -> Node | None:
        node: Node | None = None
        match labels:
            case ():
                node = Node(is_apex=True, name_server=self._name_server())
            case ("dns-version",):
                node = Node(texts=(VERSION,), ttl=VERSION_TTL)
            case ("dns",) | ("dns", "ns") if addresses := self._records(NAME_SERVER).addresses:
                node = Node(addresses=addresses) if len(labels) > 1 else EMPTY
            case ("svc" | "pod",):
                node = EMPTY
            case ("svc" | "pod", namespace) if namespace in self.namespaces:
                node = EMPTY
            case ("svc", namespace, service, *rest) if namespace in self.namespaces:
                node = self._of_service(f"{namespace}/{service}", tuple(rest))
            case ("pod", namespace, label) if namespace in self.namespaces:
                node = self._of_pod(namespace, label)
        return node

    def _of_service(self, key: str, rest: Labels) -> Node | None:
        source = self.sources.get(key)
        if source is None or source.records is None:
            return None
        if rest not in source.nodes:
            node = self._of_records(key, source.records, rest)
            if node is None or node is EMPTY:
                return node
            source.nodes[rest] = node
        return source.nodes[rest]

    def _of_records(self, key: str, records: ServiceRecords, rest: Labels) -> Node | None:
        match rest:
            case ():
                return Node(addresses=records.addresses, alias=records.alias)
            case (label,) if label in records.endpoints:
                return Node(addresses=records.endpoints[label])
            case (label,):
                return EMPTY if any(f"_{protocol}" == label for _, protocol in records.ports) else None
            case (protocol, port) if protocol.startswith("_") and port.startswith("_"):
                targets = records.ports.get((port[1:], protocol[1:]))
                return Node(services=tuple((t.port, self._target(key, t)) for t in targets)) if targets else None
            case _:
                return None

    def _of_pod(self, namespace: str, label: str) -> Node | None:
        address = undashed(label)
        if self.pod_mode == "disabled" or address is None:
            return None
        known = self.pod_addresses is None or (namespace, address) in self.pod_addresses
        return Node(addresses=(address,)) if known else None

    def _target(self, key: str, record: ServiceRecord) -> dns.name.Name:
        return self._service_name(key, record.endpoint)

    def _service_name(self, key: str, endpoint: str = "") -> dns.name.Name:
        namespace, service = key.split("/")
        labels = (*((endpoint,) if endpoint else ()), service, namespace, "svc")
        return dns.name.Name(labels).concatenate(self.origin.name)

    def _records(self, key: str) -> ServiceRecords:
        source = self.sources.get(key)
        return (source.records if source else None) or ServiceRecords()

    def _name_server(self) -> dns.name.Name:
        return dns.name.Name(("ns", "dns")).concatenate(self.origin.name)

    def _pointers(self, address: str) -> tuple[dns.name.Name, ...]:
        if owner := self._cluster_addresses.get(address):
            return (self._service_name(owner),)
        hosts = self.hosts.names.get(address, ())[:1]
        endpoints = self._endpoint_addresses.get(address, ())
        return (
            *(dns.name.from_text(host) for host in hosts),
            *(self._service_name(key, label) for key, label in endpoints),
        )

    def _leads_to_pointers(self, text: str) -> bool:
        """Return whether a reverse name has names with pointers below it, so that it exists though empty."""
        return text in self._reverse_parents

    @cached_property
    def _reverse_parents(self) -> frozenset[str]:
        """The names above all reverse names that have pointers."""
        parents: set[str] = set()
        for address in (*self._cluster_addresses, *self._endpoint_addresses, *self.hosts.names):
            name = ipaddress.ip_address(address).reverse_pointer
            while name := name.partition(".")[2]:
                if name in parents:
                    break
                parents.add(name)
        return frozenset(parents)

    @cached_property
    def _parents_of_hosts(self) -> frozenset[str]:
        """Names that have hosts of the lab below them (`example.com` of db.example.com): they exist, though empty."""
        labels = (host.split(".") for host in self.hosts.addresses)
        return frozenset(".".join(parts[at:]) for parts in labels for at in range(1, len(parts)))

    @cached_property
    def _cluster_addresses(self) -> dict[str, str]:
        return {
            address: key
            for key, source in self.sources.items()
            if source.records and not source.records.headless
            for address in source.records.addresses
        }

    @cached_property
    def _endpoint_addresses(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Address -> the (Service, endpoint label) pairs that it serves, one per Service."""
        found: dict[str, dict[str, str]] = {}
        for key in sorted(self.sources):
            for label, addresses in self._records(key).endpoints.items():
                for address in addresses:
                    found.setdefault(address, {}).setdefault(key, label)
        return {address: tuple(owners.items()) for address, owners in found.items()}


def _living(pods: Iterable[Pod]) -> frozenset[tuple[str, str]]:
    """Return namespace and address of the pods that have records: as CoreDNS, not those that have finished or are terminating."""
    return frozenset((p.metadata.namespace, p.status.pod_ip) for p in pods if not (p.finished or p.terminating))
