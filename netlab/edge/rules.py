"""The load balancer as nft rules: table `netlab-edge` of one family in the edge's namespace. Pure.

A packet from outside to 198.51.100.1:80, an address that stands on the edge's `lo`:

    prerouting, before DNAT   firewall-prerouting: @firewall-ports -> firewall-... drops who is not in the source ranges
    prerouting, DNAT          nat-prerouting: @service-ports -> service-... picks a healthy node
                                                             -> node-...    dnat to <node>:<nodePort>
                                                             -> node-...    without node port: ct mark of the node
    prerouting, after DNAT    mark-prerouting: the mark of the connection becomes the packet's, and decides its route (`steering`)
    forward                   to the node; the client's address is still the source
    input                     filter-input: @unhealthy-ports -> reject: nobody is there to take it

The steps are those of the table `ip kube-proxy` of the nodes, from the same `netlab.netfilter.blocks`,
so a reader of one table can read the other.

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

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from netlab.dataplane.flows import FlowFilter
from netlab.dataplane.names import digest
from netlab.edge.frontends import Backend, Frontend
from netlab.edge.steering import mark
from netlab.family import Family
from netlab.netfilter import blocks
from netlab.netfilter.ruleset import (
    AFTER_DNAT_PRIORITY,
    BEFORE_DNAT_PRIORITY,
    FILTER_PRIORITY,
    FRAME,
    Base,
    Chain,
    ChainType,
    Fragment,
    Hook,
    Ruleset,
    Set,
)
from netlab.netfilter.vetting import LONGEST_NAME

TABLE = "netlab-edge"
LONGEST_BASE = LONGEST_NAME - len("firewall-")

SERVICE_PORTS = "service-ports"  # where there is a healthy node
UNHEALTHY_PORTS = "unhealthy-ports"  # where there is none
FIREWALL_PORTS = "firewall-ports"  # where loadBalancerSourceRanges are given
NODES = "node-addresses"
Healthy = Mapping[Frontend, tuple[Backend, ...]]  # each frontend with its healthy nodes


@dataclass(frozen=True)
class Balancing:
    """What the load balancer is to do: every frontend with its healthy nodes, and the addresses of all nodes."""

    healthy: Healthy
    nodes: tuple[Backend, ...] = ()


def compile_rules(family: Family, balancing: Balancing, previous: Ruleset | None = None) -> Ruleset:
    """Return the table. A fragment that is the same as in `previous` is the same object."""
    old = previous.fragments if previous else {}
    fragments = {FRAME: _frame(family, balancing.nodes)}
    for frontend, healthy in balancing.healthy.items():
        fragments[frontend.path] = _fragment(family, frontend, healthy)
    kept = {k: old[k] if old.get(k) == f else f for k, f in fragments.items()}
    return Ruleset(family.nft, TABLE, kept)


def _frame(family: Family, nodes: Iterable[Backend]) -> Fragment:
    by_address = blocks.by_address(family)
    sets = (
        by_address.map(SERVICE_PORTS),
        by_address.map(UNHEALTHY_PORTS),
        by_address.map(FIREWALL_PORTS),
        Set(NODES, family.set_type),
    )
    chains = (
        Chain(
            "firewall-prerouting",
            (by_address.look_up(FIREWALL_PORTS),),
            Base(ChainType.FILTER, Hook.PREROUTING, BEFORE_DNAT_PRIORITY),
        ),
        Chain("nat-prerouting", (by_address.look_up(SERVICE_PORTS),), blocks.NAT_PREROUTING),
        Chain(
            "mark-prerouting",
            ("ct direction original ct mark != 0 meta mark set ct mark",),
            Base(ChainType.FILTER, Hook.PREROUTING, AFTER_DNAT_PRIORITY),
        ),
        Chain("nat-output", (by_address.look_up(SERVICE_PORTS),), blocks.NAT_OUTPUT),
        Chain(
            "filter-input",
            (by_address.look_up(UNHEALTHY_PORTS),),
            Base(ChainType.FILTER, Hook.INPUT, FILTER_PRIORITY),
        ),
        blocks.reject_chain(),
        blocks.MARKING,
        Chain(
            "nat-postrouting",
            (f"ct mark != 0 {_from_node(family)} {blocks.MASQUERADE}", *blocks.MASQUERADE_MARKED),
            blocks.NAT_POSTROUTING,
        ),
    )
    return Fragment.of(chains, sets, {NODES: {node.address: "" for node in nodes}})


def _from_node(family: Family) -> str:
    return f"{family.nft} saddr @{NODES}"


def _fragment(family: Family, frontend: Frontend, healthy: tuple[Backend, ...]) -> Fragment:
    name = _base(frontend.path)
    chains: list[Chain] = []
    elements: dict[str, dict[str, str]] = {}
    if frontend.source_ranges:
        allowed = blocks.only_from(family, frontend.source_ranges)
        chains.append(Chain(f"firewall-{name}", (allowed,)))
        elements[FIREWALL_PORTS] = _dispatch(frontend, f"goto firewall-{name}")
    if not healthy:
        elements[UNHEALTHY_PORTS] = _dispatch(frontend, blocks.REJECT)
        return Fragment.of(chains, elements=elements)
    elements[SERVICE_PORTS] = _dispatch(frontend, f"goto service-{name}")
    targets = [_target(family, frontend, node) for node in healthy]
    for node, target in zip(healthy, targets, strict=True):
        chains.append(Chain(target.chain, (*target.remember(), _send(family, frontend, node))))
    nodes = (f"{_from_node(family)} {blocks.MARK_FOR_MASQUERADE}",) if frontend.node_port else ()
    chains.append(Chain(f"service-{name}", (*nodes, *blocks.balance(targets))))
    return Fragment.of(chains, blocks.affinity_sets(targets), elements)


def _target(family: Family, frontend: Frontend, node: Backend) -> blocks.Target:
    return blocks.Target(family, "node", _base(frontend.path, node.name), frontend.affinity_timeout)


def _send(family: Family, frontend: Frontend, node: Backend) -> str:
    if frontend.node_port:
        return blocks.dnat(family, frontend.protocol, node.address, frontend.node_port)
    return f"ct mark set {mark(node):#010x}"


def _base(path: str, node: str = "") -> str:
    """Return what the names of a frontend's chains share, with a node's name for those of one node.

    All names of a frontend begin with the same hash; one that is cut has a hash of its own.
    """
    whole = f"{path}/{node}" if node else path
    name = f"{digest(path)}-{whole}"
    if len(name) > LONGEST_BASE:
        name = f"{digest(whole)}-{whole}"
    return blocks.shortened(name, LONGEST_BASE)


def _dispatch(frontend: Frontend, verdict: str) -> dict[str, str]:
    keys = (blocks.concatenation(a, frontend.protocol, frontend.port) for a in frontend.addresses)
    return dict.fromkeys(keys, verdict)


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
