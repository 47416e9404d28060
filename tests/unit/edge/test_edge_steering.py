from __future__ import annotations

from netlab.dataplane.diff import diff
from netlab.dataplane.state import KERNEL_RULES, LOCAL_TABLE, Link, NamespaceState, Operation, Route, Rule, Verb
from netlab.edge.frontends import Backend
from netlab.edge.steering import MARK_MASK, mark, steering_state

ONE, TWO, FAR = Backend("node1", "172.30.1.1"), Backend("node2", "172.30.1.2"), Backend("far", "192.0.2.1")
SUBNET = Route("172.30.0.0/16", "eth0", source="172.30.0.1", connected=True)
OBSERVED = NamespaceState(links=(Link("lo"), Link("eth0")), connected=(SUBNET,), rules=KERNEL_RULES)


def test_edge_steering_routes_each_node():
    """A mark leads to its node by the node's device, before the `local` table; a node on no subnet of the edge has no route."""
    wanted = steering_state((ONE, TWO, FAR), OBSERVED)

    assert [("172.30.1.1", "eth0", 10257), ("172.30.1.2", "eth0", 10258)] == [
        (r.gateway, r.device, r.table) for r in wanted.routes
    ]
    assert [Rule(100, 10257, mark(ONE), MARK_MASK), Rule(100, 10258, mark(TWO), MARK_MASK), Rule(200, LOCAL_TABLE)] == list(
        sorted(wanted.rules)[:3]
    )


def test_edge_steering_of_no_node():
    """Without nodes the kernel's own rules are back, `local` first of all."""
    steered = steering_state((ONE,), OBSERVED)
    marked = Rule(100, 10257, mark(ONE), MARK_MASK)
    back = diff(steering_state((), OBSERVED), NamespaceState(rules=steered.rules), lambda _: False)

    assert [
        Operation(Verb.ADD, Rule(0, LOCAL_TABLE)),
        Operation(Verb.DELETE, marked),
        Operation(Verb.DELETE, Rule(200, LOCAL_TABLE)),
    ] == list(back)
    assert "ip rule delete preference 100 fwmark 0x1010000/0xffff0000 lookup 10257" == str(back[1])


def test_edge_steering_again_is_nothing():
    """A second look at what was made finds nothing to do."""
    wanted = steering_state((ONE, TWO), OBSERVED)
    made = NamespaceState(links=OBSERVED.links, routes=wanted.routes, rules=tuple(reversed(wanted.rules)))

    assert () == diff(wanted, made, lambda _: False)
