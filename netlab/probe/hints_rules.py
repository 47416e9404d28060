"""Whether a node's tables are what its agent writes for the objects there are: chains, rules and elements, compared by number.

Numbers find what is done by hand: a chain flushed or deleted, a rule added, an element gone. A rule that was exchanged for
another one they do not find: for that the kernel would have to print what is wanted too, and be given a table to do so
(`nft_canonical`), but a tester changes nothing of what it tests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from netlab.api.cluster import Node
from netlab.dataplane import names
from netlab.errors import KernelError
from netlab.kernel.door import Kernel, Listing
from netlab.netfilter.ruleset import Ruleset
from netlab.probe.snapshot import Snapshot
from netlab.proxy.node_tables import NodeTables
from netlab.proxy.servicemap import build

MOST_NAMED = 3


class RulesHints:
    """Looks at each node once per run."""

    def __init__(self, snapshot: Snapshot, kernel: Kernel) -> None:
        self._snapshot = snapshot
        self._kernel = kernel
        self._found: dict[str, tuple[str, ...]] = {}

    def of(self, hosts: Iterable[str]) -> Iterator[str]:
        """Yield a sentence for each table of these hosts that is not what it should be; what is no node has none."""
        nodes = {node.metadata.name: node for node in self._snapshot.nodes}
        for name in dict.fromkeys(hosts):
            if name in nodes and name not in self._found:
                self._found[name] = tuple(self._look(nodes[name]))
            yield from self._found.get(name, ())

    def _look(self, node: Node) -> Iterator[str]:
        if not node.internal_ip:
            return  # its agent writes no rules either
        name, snapshot = node.metadata.name, self._snapshot
        path = names.namespace_path(names.host_namespace(snapshot.name, name))
        services = build(snapshot.services, snapshot.slices, node)
        for wanted in NodeTables(node, snapshot.lab.spec.networking).wanted(node, services):
            try:
                found = differences(self._kernel.nft_list(path, wanted.family, wanted.table), wanted)
            except KernelError:  # a question that fails is no hint
                continue
            if found:
                told = "; ".join(found[:MOST_NAMED]) + (f"; and {more} more" if (more := len(found) - MOST_NAMED) > 0 else "")
                yield f"table {wanted.family} {wanted.table} of {name} is not what its agent writes: {told}"


def differences(observed: Listing, wanted: Ruleset) -> tuple[str, ...]:
    """Return how a table differs from what is wanted, in words."""
    if not observed.exists:
        return ("it is not there",)
    rules = {name: [line for line in lines if not line.startswith("type ")] for name, lines in observed.chains.items()}
    members = {name: found for name, found in observed.elements.items() if name not in wanted.sets or _is_kept(wanted, name)}
    chains = _counted("chain", "rules", rules, {name: chain.rules for name, chain in wanted.chains.items()})
    kept = {name: wanted.elements.get(name, {}) for name in wanted.sets if _is_kept(wanted, name)}
    return (*chains, *_counted("set", "elements", members, kept))


def _is_kept(wanted: Ruleset, name: str) -> bool:
    return not wanted.sets[name].filled_by_packets


def _counted(
    noun: str, things: str, found: Mapping[str, Collection[str]], wanted: Mapping[str, Collection[str]]
) -> Iterator[str]:
    """Yield in words where numbers differ; what should not be there at all comes last."""
    for name, expected in wanted.items():
        if name not in found:
            yield f"{noun} {name} is missing"
        elif len(found[name]) != len(expected):
            yield f"{noun} {name} has {len(found[name]) or 'no'} {things}, not {len(expected)}"
    yield from (f"{noun} {name} is a stranger's" for name in found if name not in wanted)
