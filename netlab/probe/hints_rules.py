"""Whether a node's tables are what its agent writes for the objects there are: chains, rules and elements, one by one.

Two texts of the same rule need not be equal, so nft prints both (`netlab.netfilter.repair`): the table as it is, and the wanted
one, loaded into a namespace made for that purpose: a tester changes nothing of what it tests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from netlab.api.cluster import Node
from netlab.dataplane import names
from netlab.errors import KernelError
from netlab.kernel.canonical import canonical
from netlab.kernel.door import Kernel, Listing
from netlab.netfilter.repair import inspect
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
                found = self._compare(path, wanted)
            except KernelError:  # a question that fails is no hint
                continue
            if found:
                told = "; ".join(found[:MOST_NAMED]) + (f"; and {more} more" if (more := len(found) - MOST_NAMED) > 0 else "")
                yield f"table {wanted.family} {wanted.table} of {name} is not what its agent writes: {told}"

    def _compare(self, path: str, wanted: Ruleset) -> tuple[str, ...]:
        observed = self._kernel.nft_list(path, wanted.family, wanted.table)
        with self._kernel.scratch() as scratch:
            return differences(observed, canonical(self._kernel, scratch, wanted), wanted)


def differences(observed: Listing, canonical: Listing, wanted: Ruleset) -> tuple[str, ...]:
    """Return how a table differs from what is wanted, in words; `canonical` is how nft prints the wanted table."""
    if not observed.exists:
        return ("it does not exist",)
    damage = inspect(observed, canonical, wanted)
    return (
        *(f"chain {name} is missing" for name in damage.missing_chains),
        *(f"chain {name} has another hook, priority or policy" for name in damage.unhooked_chains),
        *(_rules(name, observed, canonical) for name in damage.changed_chains if name not in damage.unhooked_chains),
        *(f"set {name} is missing" for name in damage.missing_sets),
        *(f"set {name} lacks {_listed(found)}" for name, found in damage.missing_elements.items() if found),
        *(f"set {name} also has {_listed(found)}" for name, found in damage.strange_elements.items() if found),
        *(f"chain {name} was not created by netlab" for name in damage.strange_chains),
        *(f"set {name} was not created by netlab" for name in damage.strange_sets),
    )


def _rules(name: str, observed: Listing, canonical: Listing) -> str:
    found, expected = _bare(observed.chains[name]), _bare(canonical.chains[name])
    if len(found) != len(expected):
        return f"chain {name} has {len(found) or 'no'} rules, not {len(expected)}"
    pair = next(((has, wants) for has, wants in zip(found, expected, strict=True) if has != wants), ("", ""))
    return f"chain {name} has other rules: `{pair[0]}` instead of `{pair[1]}`"


def _bare(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if not line.startswith("type ")]


def _listed(elements: Collection[str]) -> str:
    more = f" and {len(elements) - 1} more" if len(elements) > 1 else ""
    return f"`{next(iter(elements))}`{more}"
