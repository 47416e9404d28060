"""The checks of a lab, computed from its objects: nobody writes a list of them.

objects -> paths between places (here)  +  Services (plan_services)  +  names (`names`)  ->  checks
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations

from netlab.probe.plan import choose, names, services
from netlab.probe.plan.checks import Check, Expectation, Place, Reach
from netlab.probe.plan.expectation import direct
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.snapshot import Snapshot

PROTOCOLS = ("TCP", "UDP", "ICMP")
UDP_HEADER = 8  # bytes
SOME_NODES = 6  # beyond so many nodes, checks for "every pair of nodes" take a sample


@dataclass(frozen=True)
class Choice:
    """How many pairs of a path class were chosen, out of how many there are."""

    path: str
    chosen: int
    possible: int


def plan(snapshot: Snapshot) -> tuple[Check, ...]:
    """Return all checks of a lab, each id once."""
    found: dict[str, Check] = {}
    makers = (_pods, _pods_and_nodes, _host_network, _nodes, _outside, _datagrams, services.checks, names.checks)
    with _uncollected():
        for maker in makers:
            for check in maker(snapshot):
                found.setdefault(check.id, check)
    return tuple(found.values())


@contextmanager
def _uncollected() -> Iterator[None]:
    """Have the garbage collector wait: it would look through a hundred thousand checks again and again (a third of the time)."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def choices(snapshot: Snapshot) -> tuple[Choice, ...]:
    """Say how many of the possible pairs the plan holds."""
    pods = snapshot.pod_places
    pairs = choose.pod_pairs(pods)
    same = sum(a.node == b.node for a, b in pairs)
    possible_same = sum(len(g) * (len(g) - 1) for g in choose.by_node(pods).values())
    all_pairs = len(pods) * (len(pods) - 1)
    nodes = snapshot.node_places
    return (
        Choice("pod-pod-same-node", same, possible_same),
        Choice("pod-pod-cross-node", len(pairs) - same, all_pairs - possible_same),
        Choice("pod-node", len(choose.pod_node_pairs(pods, nodes)), len(pods) * len(nodes)),
    )


def _reach(
    snapshot: Snapshot, path: str, source: Place, target: Place, protocols: tuple[str, ...] = PROTOCOLS
) -> Iterator[Check]:
    expected = direct(snapshot, source, target)
    for protocol in protocols:
        yield Check(path, source, Reach(protocol, target), expected, target.name)


def _pods(snapshot: Snapshot) -> Iterator[Check]:
    for source, target in choose.pod_pairs(snapshot.pod_places):
        path = "pod-pod-same-node" if source.node == target.node else "pod-pod-cross-node"
        yield from _reach(snapshot, path, source, target)


def _pods_and_nodes(snapshot: Snapshot) -> Iterator[Check]:
    for pod, node in choose.pod_node_pairs(snapshot.pod_places, snapshot.node_places):
        where = "own" if pod.node == node.name else "other"
        yield from _reach(snapshot, f"pod-{where}-node", pod, node)
        yield from _reach(snapshot, f"node-pod-{'local' if where == 'own' else 'remote'}", node, pod)


def _host_network(snapshot: Snapshot) -> Iterator[Check]:
    """Pods with hostNetwork share their node's address (semantics 1.7)."""
    for target in choose.some(snapshot.host_network_places, SOME_NODES):
        for pod in snapshot.one_pod_per_node()[:SOME_NODES]:
            yield from _reach(snapshot, "pod-host-network", pod, target, ("TCP", "UDP"))
            yield from _reach(snapshot, "host-network-pod", target, pod, ("TCP", "UDP"))


def _nodes(snapshot: Snapshot) -> Iterator[Check]:
    """The underlay itself: when this fails, the rest need not be looked at."""
    for source, target in permutations(choose.some(snapshot.node_places, SOME_NODES), 2):
        yield from _reach(snapshot, "node-node", source, target, ("TCP", "ICMP"))


def _outside(snapshot: Snapshot) -> Iterator[Check]:
    sample = snapshot.one_pod_per_node()
    for client in snapshot.client_places:
        for pod in choose.some(snapshot.pod_places, choose.ALL_PAIRS * 2):
            yield from _reach(snapshot, "pod-outside", pod, client, PROTOCOLS if pod in sample else ("TCP",))
        for node in choose.some(snapshot.node_places, choose.ALL_PAIRS):
            yield from _reach(snapshot, "node-outside", node, client, ("TCP",))
            yield from _reach(snapshot, "outside-node", client, node, ("TCP",))
        for pod in sample[:1]:  # one: "no route" is limited the most
            yield from _reach(snapshot, "outside-pod", client, pod, ("TCP",))


def _datagrams(snapshot: Snapshot) -> Iterator[Check]:
    """UDP datagrams that must not be fragmented, at the size limit: bulk TCP would hide a wrong MTU (verification 16b)."""
    mtu = snapshot.overlay.pod_mtu
    largest = mtu - snapshot.family.header - UDP_HEADER
    sample = choose.some(snapshot.one_pod_per_node(), SOME_NODES)
    groups = choose.by_node(snapshot.pod_places)
    neighbours = [(group[0], group[1]) for group in groups.values() if len(group) > 1][:SOME_NODES]
    too_big = Expectation((Outcome.MTU,), f"the pod's MTU is {mtu} (semantics 2.14)")
    for source, target in (*neighbours, *permutations(sample, 2)):
        path = "mtu-same-node" if source.node == target.node else "mtu-cross-node"
        fits = direct(snapshot, source, target)
        for size, expected in ((largest, fits), (largest + 1, too_big)):
            yield Check(path, source, Reach("UDP", target, size=size), expected, target.name)
