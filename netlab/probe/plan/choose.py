"""Which pairs of pods to try: all of them in a small lab, in a big one a few that still touch everything.

Up to `ALL_PAIRS` pods every ordered pair is tried. Beyond that, per path class, every pod is a source and a target at
least once, and every ordered pair of nodes is crossed. The choice is a rotation: the same lab gives the same pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

from netlab.probe.plan.checks import Place

ALL_PAIRS = 12

Pair = tuple[Place, Place]


def by_node(pods: Sequence[Place]) -> dict[str, list[Place]]:
    """Group places by their node."""
    found: dict[str, list[Place]] = {}
    for pod in pods:
        found.setdefault(pod.node, []).append(pod)
    return found


def pod_pairs(pods: Sequence[Place]) -> list[Pair]:
    """Return the ordered pairs of pods to try."""
    if len(pods) <= ALL_PAIRS:
        return list(permutations(pods, 2))
    return [*_same_node(by_node(pods)), *_cross_node(by_node(pods))]


def _same_node(groups: dict[str, list[Place]]) -> Iterator[Pair]:
    """Pair each pod with the next one of its node, round in a circle."""
    for group in groups.values():
        if len(group) > 1:
            yield from ((pod, group[(i + 1) % len(group)]) for i, pod in enumerate(group))


def _cross_node(groups: dict[str, list[Place]]) -> Iterator[Pair]:
    """Walk all ordered pairs of nodes; each takes the next few pods on both sides, so that all of them get their turn."""
    others = max(len(groups) - 1, 1)
    share = {node: -(-len(group) // others) for node, group in groups.items()}
    nodes = sorted(groups)
    for step in range(1, len(nodes)):
        for position, here in enumerate(nodes):
            there = nodes[(position + step) % len(nodes)]
            for turn in range(max(share[here], share[there])):
                yield (
                    _turn(groups[here], (step - 1) * share[here] + turn),
                    _turn(groups[there], (step - 1) * share[there] + turn),
                )


def _turn(group: list[Place], number: int) -> Place:
    return group[number % len(group)]


def pod_node_pairs(pods: Sequence[Place], nodes: Sequence[Place]) -> list[Pair]:
    """Return pairs of a pod and a node: all in a small lab, else each pod with its own node and one other."""
    if len(pods) <= ALL_PAIRS:
        return [(pod, node) for pod in pods for node in nodes]
    places = {node.name: i for i, node in enumerate(nodes)}
    pairs = []
    for number, pod in enumerate(pods):
        own = places[pod.node]
        other = (own + 1 + number % max(len(nodes) - 1, 1)) % len(nodes)
        pairs += [(pod, nodes[i]) for i in sorted({own, other})]
    return pairs


def some(items: Sequence[Place], limit: int) -> list[Place]:
    """Return at most `limit` items, spread evenly over all of them."""
    if len(items) <= limit:
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]
