"""The load balancer as nft rules: table `ip netlab-edge` in the edge's namespace. Pure.

A packet from outside to 198.51.100.1:80, an address that stands on the edge's `lo`:

    prerouting, before DNAT   firewall-prerouting: @firewall-ports -> firewall-... drops who is not in the source ranges
    prerouting, DNAT          nat-prerouting: @service-ports -> service-... picks a healthy node
                                                             -> node-...    dnat to <node>:<nodePort>
                                                             -> node-...    without node port: ct mark of the node
    prerouting, after DNAT    mark-prerouting: the mark of the connection becomes the packet's, and decides its route (`steering`)
    forward                   to the node; the client's address is still the source
    input                     filter-input: @unhealthy-ports -> reject: nobody is there to take it

The words are kube-proxy's in nftables mode (semantics 8.3, 8.6, 8.7, 8.10), so that who knows one table reads the other.

Decisions:
1. No source NAT: the node sees the client, which is what externalTrafficPolicy Local is about. One exception: a packet
   from a node, which the node it is sent on to would answer directly, past us; it leaves with the edge's address.
2. Nodes are drawn per connection (conntrack keeps its node). Session affinity keeps a client on its node in a set with
   the Service's timeout; otherwise the nodes, which each keep their own memory, would not see the client again.
3. No healthy node: the connection is refused at once, as a client of a server that is not running is refused. Dropping,
   which some balancers do, tells the client nothing; sending to unhealthy nodes, which others do, hides the fault.
4. A node that became unhealthy gets no new connection. TCP connections it has are left to end by themselves (6.19); UDP
   flows are forgotten, since a client that goes on sending would keep the flow, and the dead node, for ever (6.18).
5. Ports without a Service are the edge's own: closed, which the kernel says with a reset or an ICMP message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from netlab.dataplane.flows import FlowFilter
from netlab.dataplane.names import digest
from netlab.edge.frontends import Backend, Frontend
from netlab.edge.steering import mark
from netlab.netfilter.ruleset import (
    AFTER_DNAT_PRIORITY,
    BEFORE_DNAT_PRIORITY,
    DNAT_PRIORITY,
    FILTER_PRIORITY,
    SNAT_PRIORITY,
    Base,
    Chain,
    ChainType,
    Fragment,
    Hook,
    Ruleset,
    Set,
)

FAMILY = "ip"
TABLE = "netlab-edge"
LONGEST_BASE = 255 - len("firewall-")  # of the kernel's names of chains and sets
DISPATCH = "ip daddr . meta l4proto . th dport vmap"
DISPATCH_TYPE = "ipv4_addr . inet_proto . inet_service : verdict"
MASQUERADE_MARK = "0x4000"  # kube-proxy's bit

MAPS = (
    Set("service-ports", DISPATCH_TYPE),  # where there is a healthy node
    Set("unhealthy-ports", DISPATCH_TYPE),  # where there is none
    Set("firewall-ports", DISPATCH_TYPE),  # where loadBalancerSourceRanges are given
    Set("node-addresses", "ipv4_addr"),
)
CHAINS = (
    Chain(
        "firewall-prerouting",
        (f"{DISPATCH} @firewall-ports",),
        Base(ChainType.FILTER, Hook.PREROUTING, BEFORE_DNAT_PRIORITY),
    ),
    Chain("nat-prerouting", (f"{DISPATCH} @service-ports",), Base(ChainType.NAT, Hook.PREROUTING, DNAT_PRIORITY)),
    Chain(
        "mark-prerouting",
        ("ct direction original ct mark != 0 meta mark set ct mark",),
        Base(ChainType.FILTER, Hook.PREROUTING, AFTER_DNAT_PRIORITY),
    ),
    Chain("nat-output", (f"{DISPATCH} @service-ports",), Base(ChainType.NAT, Hook.OUTPUT, DNAT_PRIORITY)),
    Chain("filter-input", (f"{DISPATCH} @unhealthy-ports",), Base(ChainType.FILTER, Hook.INPUT, FILTER_PRIORITY)),
    Chain("reject-chain", ("reject",)),
    Chain("mark-for-masquerade", (f"meta mark set meta mark | {MASQUERADE_MARK}",)),
    Chain(
        "nat-postrouting",
        (
            "ct mark != 0 ip saddr @node-addresses masquerade fully-random",
            f"meta mark & {MASQUERADE_MARK} == 0 return",
            f"meta mark set meta mark ^ {MASQUERADE_MARK}",
            "masquerade fully-random",
        ),
        Base(ChainType.NAT, Hook.POSTROUTING, SNAT_PRIORITY),
    ),
)


Healthy = Mapping[Frontend, tuple[Backend, ...]]  # each frontend with its healthy nodes


@dataclass(frozen=True)
class Balancing:
    """What the load balancer is to do: every frontend with its healthy nodes, and the addresses of all nodes."""

    healthy: Healthy
    nodes: tuple[Backend, ...] = ()


def compile_rules(balancing: Balancing, previous: Ruleset | None = None) -> Ruleset:
    """Return the table. Frontends whose fragment is the same as in `previous` keep that very object."""
    old = previous.fragments if previous else {}
    fragments = {"": Fragment.of(CHAINS, MAPS, {"node-addresses": {node.address: "" for node in balancing.nodes}})}
    for frontend, healthy in balancing.healthy.items():
        fragments[frontend.path] = _fragment(frontend, healthy)
    return Ruleset(FAMILY, TABLE, {k: old[k] if old.get(k) == f else f for k, f in fragments.items()})


def _fragment(frontend: Frontend, healthy: tuple[Backend, ...]) -> Fragment:
    name = _base(frontend.path)
    chains: list[Chain] = []
    sets: list[Set] = []
    elements: dict[str, dict[str, str]] = {}
    if frontend.source_ranges:
        chains.append(Chain(f"firewall-{name}", (f"ip saddr != {{ {', '.join(frontend.source_ranges)} }} drop",)))
        elements["firewall-ports"] = _dispatch(frontend, f"goto firewall-{name}")
    if not healthy:
        elements["unhealthy-ports"] = _dispatch(frontend, "goto reject-chain")
        return Fragment.of(chains, sets, elements)
    elements["service-ports"] = _dispatch(frontend, f"goto service-{name}")
    rules = ["ip saddr @node-addresses jump mark-for-masquerade"] if frontend.node_port else []
    nodes = [(backend, _base(frontend.path, backend.name)) for backend in healthy]
    for backend, node in nodes:
        send = _send(frontend, backend)
        if frontend.affinity_timeout:
            memory = f"affinity-{node}"
            sets.append(Set(memory, "ipv4_addr", ("dynamic", "timeout"), frontend.affinity_timeout))
            rules.append(f"ip saddr @{memory} goto node-{node}")
            send = (f"update @{memory} {{ ip saddr }}", *send)
        chains.append(Chain(f"node-{node}", send))
    branches = ", ".join(f"{number} : goto node-{node}" for number, (_, node) in enumerate(nodes))
    rules.append(f"numgen random mod {len(healthy)} vmap {{ {branches} }}")
    return Fragment.of([*chains, Chain(f"service-{name}", tuple(rules))], sets, elements)


def _send(frontend: Frontend, node: Backend) -> tuple[str, ...]:
    if frontend.node_port:
        return (f"meta l4proto {frontend.protocol} dnat to {node.address}:{frontend.node_port}",)
    return (f"ct mark set {mark(node):#010x}",)


def _base(path: str, node: str = "") -> str:
    """Return what the names of a frontend's chains share, with a node's name for those of one node; cut where too long."""
    whole = f"{path}/{node}" if node else path
    name = f"{digest(path)}-{whole}"
    return name if len(name) <= LONGEST_BASE else f"{digest(whole)}-{whole[: LONGEST_BASE - 12]}..."


def _dispatch(frontend: Frontend, verdict: str) -> dict[str, str]:
    return {f"{address} . {frontend.protocol} . {frontend.port}": verdict for address in frontend.addresses}


def stale_flows(old: Balancing | None, new: Balancing) -> tuple[FlowFilter, ...]:
    """Return the UDP flows to forget: to nodes that are no longer healthy, to ports that had none.

    All flows, if the former rules are not known (None): any may have been sent anywhere.
    """
    if old is None:
        return tuple(flows for frontend in new.healthy for flows in _udp_flows(frontend))
    return tuple(_stale(old.healthy, new.healthy))


def _stale(old: Healthy, new: Healthy) -> Iterator[FlowFilter]:
    for frontend in dict.fromkeys((*old, *new)):
        had, has = old.get(frontend, ()), new.get(frontend, ())
        gone = [node for node in had if node not in has]
        for flows in _udp_flows(frontend):
            yield from (_sent_to(node, flows, frontend) for node in gone)
            if has and not had:
                yield flows


def _udp_flows(frontend: Frontend) -> list[FlowFilter]:
    """Return a filter per address of a UDP frontend; flows of other protocols end on their own."""
    if frontend.protocol != "udp":
        return []
    return [FlowFilter("udp", address, frontend.port) for address in frontend.addresses]


def _sent_to(node: Backend, flows: FlowFilter, frontend: Frontend) -> FlowFilter:
    """Narrow a filter to one node, by the source of the replies or by the mark."""
    if frontend.node_port:
        return replace(flows, reply_source=node.address)
    return replace(flows, mark=mark(node))
