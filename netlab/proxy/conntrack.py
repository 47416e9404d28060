"""Which UDP flows conntrack must forget when Services or endpoints change (semantics 6.18).

The kernel translates every packet of a flow as it translated the first one. A UDP client that keeps its port keeps its
flow alive, so after a change it would go on to an endpoint that is gone, or to no endpoint at all: it has to be
forgotten, and the next packet is judged by the rules of today. TCP ends by itself: its flows are left alone (6.19).

Rules: for every address and port under which a UDP service port was or is reachable
1. it is gone (Service deleted, port or address changed): forget all flows to it;
2. it has endpoints now and had none, or was not there: forget all flows to it;
3. an endpoint (an address *and* port: an edited targetPort makes another one) is gone: forget the flows that were sent
   to its address. One to another port of that address is forgotten too, and translated anew at its next packet.
An endpoint counts while it serves or is offered unready (publishNotReadyAddresses), whatever traffic policy says:
changing a policy cuts no flow.

What would surprise you
    - `old` is the map whose rules the kernel held. Where that is unknown (the agent has just started, or somebody else has
      changed rules) any flow may have been sent anywhere: all flows to Services are forgotten once. A flow
      that was right is translated anew at its next packet.
    - Rules are loaded first and flows are forgotten after, or the next packet could be judged by the old rules again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from netlab.api.values import Ip
from netlab.dataplane.flows import AnyAddress, FlowFilter
from netlab.proxy.serviceport import ServicePortInfo, ServicePortMap

Frontend = tuple[Ip | AnyAddress, int]  # destination address and port, as the client sends
Nodes = Sequence[Ip | AnyAddress]  # the addresses that serve node ports
Target = tuple[Ip, int]  # address and port of an endpoint
Serving = dict[Frontend, frozenset[Target]]  # frontends with the endpoints that serve them


def stale_flows(
    old: ServicePortMap | None,
    new: ServicePortMap,
    node_addresses: Nodes = (),
) -> tuple[FlowFilter, ...]:
    """Return the flows to forget after the rules of `new` have replaced those of `old`.

    None as `old`: the former rules are not known. `node_addresses` are the addresses that serve
    node ports; without any, a node port is matched by its number alone.
    """
    nodes = node_addresses or ("",)
    if old is None:
        return tuple(FlowFilter("udp", *frontend) for frontend in _serving(new, new, nodes))
    changed = [key for key in (*old, *(k for k in new if k not in old)) if old.get(key) is not new.get(key)]
    before = _serving(changed, old, nodes)
    after = _serving(changed, new, nodes)
    return tuple(dict.fromkeys(_compare(before, after)))


def _serving(keys: Iterable[str], service_map: ServicePortMap, nodes: Nodes) -> Serving:
    """Return for every UDP frontend of some Services the endpoints that serve it."""
    found: Serving = {}
    for key in keys:
        for port in service_map.get(key, ()):
            if port.protocol == "udp":
                endpoints = frozenset((e.address, e.port) for e in port.endpoints if e.serving or e.ready)
                found.update(dict.fromkeys(_frontends(port, nodes), endpoints))
    return found


def _frontends(port: ServicePortInfo, nodes: Nodes) -> Iterator[Frontend]:
    for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
        yield address, port.port
    if port.node_port:
        yield from ((node, port.node_port) for node in nodes)


def _compare(before: Serving, after: Serving) -> Iterator[FlowFilter]:
    for frontend in before:
        if frontend not in after:
            yield FlowFilter("udp", *frontend)
    for frontend, endpoints in after.items():
        had = before.get(frontend, frozenset())
        if endpoints and not had:
            yield FlowFilter("udp", *frontend)
            continue
        for gone in sorted({target for target, _ in had - endpoints}):
            yield FlowFilter("udp", *frontend, reply_source=gone)
