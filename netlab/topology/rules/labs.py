"""The Lab: names of hosts, and address ranges that are big enough and apart from each other (docs/architecture.md, Addresses)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from netlab.api.lab import Lab, LabSpec, Networking
from netlab.topology import syntax
from netlab.topology.problem import Problem, Steps, duplicate, forbidden, invalid, path_text, required

MOST_NODES = 1000
# The first two are netlab.dataplane.names.EDGE and FABRIC, which this layer does not import.
RESERVED_HOSTS = {"edge": "the lab's router", "fabric": "the lab's underlay", "localhost": "the name of every host for itself"}
NODE_BLOCK = 256  # in a node subnet of /22 or more, node i is base + 256 + i; in a smaller one base + 10 + i
SMALL_NODE_BLOCK = 10
SMALL_NODE_SUBNET = 23
CLIENT_BLOCK = 9  # client i is base + 9 + i
KUBE_DNS = 10  # its address in the service subnet
MOST_DNS_SERVERS = 3  # as many as a resolv.conf names
_OUTSIDE = ("outsideSubnet", "pool")  # what the edge reaches, too
_EVERYWHERE = (*_OUTSIDE, "podSubnet", "serviceSubnet")


def lab_problems(lab: Lab, _networking: Networking | None = None) -> Iterator[Problem]:
    """Yield what is wrong with a Lab."""
    if len(lab.spec.nodes) > MOST_NODES:
        yield invalid(("spec", "nodes"), len(lab.spec.nodes), f"a lab has at most {MOST_NODES} nodes")
    yield from _name_problems(lab.spec)
    yield from _range_problems(lab.spec)
    yield from _dns_problems(lab.spec)


def _name_problems(spec: LabSpec) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for at, name in _hosts(spec):
        if name in RESERVED_HOSTS:
            yield invalid(at, name, f"is {RESERVED_HOSTS[name]}; choose another name")
        elif name and name in taken:
            yield duplicate(at, name, "nodes and clients need unique names")
        taken[name] = name
    inside = f".{spec.networking.dns_domain}"
    for index, client in enumerate(spec.clients):
        for number, hostname in enumerate(client.hostnames):
            at_hostname = ("spec", "clients", index, "hostnames", number)
            if f".{hostname}".endswith(inside):
                yield invalid(at_hostname, hostname, f"is in the cluster's DNS domain {spec.networking.dns_domain}")
            elif hostname in taken and taken[hostname] != client.name:
                yield duplicate(at_hostname, hostname, "a host name can belong to one client or node only")
            taken.setdefault(hostname, client.name)


def _dns_problems(spec: LabSpec) -> Iterator[Problem]:
    """Yield servers that the lab's DNS cannot reach, or that are it; domains that are the cluster's.

    The edge asks the upstream servers as well, and reaches no pods and no cluster IPs.
    """
    domain, here = spec.networking.dns_domain, ("spec", "dns", "stubDomains")
    yield from _server_problems(spec, ("spec", "dns", "upstream"), spec.dns.upstream, _OUTSIDE)
    for stub, servers in spec.dns.stub_domains.items():
        if f".{stub}".endswith(f".{domain}"):
            yield replace(invalid((*here, stub), stub, f"is in the cluster's DNS domain {domain}"), at_key=True)
        if not servers:
            yield required((*here, stub), "a stub domain needs at least one server")
        yield from _server_problems(spec, (*here, stub), servers, _EVERYWHERE)


def _server_problems(spec: LabSpec, at: Steps, servers: tuple[str, ...], ranges: tuple[str, ...]) -> Iterator[Problem]:
    if len(servers) > MOST_DNS_SERVERS:
        yield invalid(at, len(servers), f"at most {MOST_DNS_SERVERS} servers are supported")
    for index, server in enumerate(servers):
        if fault := _server_fault(spec, server, ranges):
            yield invalid((*at, index), server, fault)


def _server_fault(spec: LabSpec, server: str, ranges: tuple[str, ...]) -> str:
    if server in {name for client in spec.clients for name in (client.name, *client.hostnames)}:
        return ""
    if syntax.UNICAST_ADDRESS.fault(server):
        return "is neither a client of the lab nor an IPv4 address"
    given = {str(row.steps[-1]): row.text(spec) for row in _RANGES}
    networks = {name: IPv4Network(text, strict=False) for name, text in given.items() if text and not syntax.NETWORK.fault(text)}
    if not any(IPv4Address(server) in networks[name] for name in ranges if name in networks):
        return f"is not reachable from the lab's DNS servers; use a client or an address in {', '.join(ranges)}"
    services = networks.get("serviceSubnet")
    if services and int(IPv4Address(server)) == int(services.network_address) + KUBE_DNS:
        return "is the lab's kube-dns"
    return ""


def _hosts(spec: LabSpec) -> Iterator[tuple[Steps, str]]:
    for index, node in enumerate(spec.nodes):
        yield ("spec", "nodes", index, "name"), node.name
    for index, client in enumerate(spec.clients):
        yield ("spec", "clients", index, "name"), client.name


@dataclass(frozen=True)
class _Range:
    """One address range of a lab. `shortest` and `longest` are prefix lengths; `why` explains the longest."""

    steps: Steps
    text: Callable[[LabSpec], str]
    shortest: int
    longest: int
    why: str


_NETWORKING = ("spec", "networking")
_RANGES = (
    _Range((*_NETWORKING, "podSubnet"), lambda s: s.networking.pod_subnet, 8, 22, "flannel needs room for four /24 subnets"),
    _Range((*_NETWORKING, "serviceSubnet"), lambda s: s.networking.service_subnet, 12, 28, "kube-dns has its address number 10"),
    _Range((*_NETWORKING, "nodeSubnet"), lambda s: s.networking.node_subnet, 8, 28, "nodes begin at its address number 11"),
    _Range(
        (*_NETWORKING, "outsideSubnet"), lambda s: s.networking.outside_subnet, 8, 28, "clients begin at its address number 10"
    ),
    _Range(
        ("spec", "loadBalancer", "pool"),
        lambda s: s.load_balancer.pool if s.load_balancer else "",
        8,
        30,
        "it must contain addresses",
    ),
)
_UNUSABLE = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "addresses of this host"),
        ("127.0.0.0/8", "loopback addresses"),
        ("169.254.0.0/16", "link-local addresses"),
        ("224.0.0.0/4", "multicast addresses"),
        ("240.0.0.0/4", "reserved addresses"),
    )
)


def _range_problems(spec: LabSpec) -> Iterator[Problem]:
    networks: list[tuple[Steps, IPv4Network]] = []
    for row in _RANGES:
        text = row.text(spec)
        if not text or syntax.NETWORK.fault(text):
            continue  # not given, or the decoder has reported what is wrong
        network = IPv4Network(text, strict=False)
        if fault := _range_fault(row, text, network):
            yield invalid(row.steps, text, fault)
            continue
        for steps, other in networks:
            if network.overlaps(other):
                yield invalid(row.steps, text, f"overlaps {path_text(steps)} {other}")
        networks.append((row.steps, network))
    yield from _capacity_problems(spec, dict(networks))


def _range_fault(row: _Range, text: str, network: IPv4Network) -> str:
    if text != str(network):
        return f"has bits set after its prefix; did you mean {network}?"
    if network.prefixlen > row.longest:
        return f"is too small, at least a /{row.longest} is needed: {row.why}"
    if network.prefixlen < row.shortest:
        return f"is too large, at most a /{row.shortest} is supported"
    return next((f"holds {what}" for unusable, what in _UNUSABLE if network.overlaps(unusable)), "")


def _capacity_problems(spec: LabSpec, networks: dict[Steps, IPv4Network]) -> Iterator[Problem]:
    """More hosts than a range has addresses for. The last address of a range is its broadcast address."""
    nodes, clients = len(spec.nodes), len(spec.clients)
    for row in _RANGES[:1] + _RANGES[2:4]:
        network = networks.get(row.steps)
        if network is None:
            continue
        name = row.steps[-1]
        size = network.num_addresses
        block = NODE_BLOCK if network.prefixlen < SMALL_NODE_SUBNET else SMALL_NODE_BLOCK
        room, wanted, what = {
            "podSubnet": (size // 256 - 1, nodes, "nodes, each with a /24; flannel never uses the first"),
            "nodeSubnet": (size - 2 - block, nodes, "nodes"),
        }.get(str(name), (size - 2 - CLIENT_BLOCK, clients, "clients"))
        if room < wanted <= MOST_NODES:
            yield invalid(row.steps, str(network), f"has room for {room} {what}; the lab has {wanted}")


def reserved_host_problems(spec: LabSpec, namespaces: frozenset[str]) -> Iterator[Problem]:
    """A host called `default-web` and the pod `web` in `default` would share the name of a network namespace."""
    for at, name in _hosts(spec):
        clash = next((namespace for namespace in sorted(namespaces) if name.startswith(f"{namespace}-")), "")
        if clash:
            yield forbidden(at, f'must not begin with "{clash}-": the names of pods in namespace {clash} do')
