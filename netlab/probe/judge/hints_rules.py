"""Whether the tables of a node, and of the edge, are what their agent writes for the objects: chains, rules, elements one by one.

Two texts of the same rule need not be equal, so nft prints both (`netlab.netfilter.listing`): the table as it is, and the wanted
one, loaded into a namespace made for that purpose: the test changes no tested table.

What the edge writes also depends on which nodes are healthy. It reports that in its Lease; without a report there is nothing to
compare with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from netlab.api.cluster import Node
from netlab.api.wellknown import EDGE_LEASE
from netlab.dataplane import names
from netlab.dataplane.diff import diff
from netlab.dataplane.state import Verb
from netlab.edge.frontends import offered, usable
from netlab.edge.rules import Balancing, compile_rules
from netlab.edge.steering import own_rules, steering_state
from netlab.errors import KernelError
from netlab.kernel.canonical import canonical
from netlab.kernel.door import Kernel
from netlab.netfilter.listing import Listing, compare
from netlab.netfilter.ruleset import Ruleset
from netlab.plane import RULES, View, parts
from netlab.probe.plan.snapshot import Snapshot
from netlab.proxy.servicemap import build

MOST_NAMED = 3


class RulesHints:
    """Compares the tables of each node, and of the edge, once per run."""

    def __init__(self, snapshot: Snapshot, kernel: Kernel) -> None:
        self._snapshot = snapshot
        self._kernel = kernel
        self._found: dict[str, tuple[str, ...]] = {}

    def of(self, hosts: Iterable[str]) -> Iterator[str]:
        """Yield a sentence for each table of these hosts that is not what it should be; other hosts have none."""
        nodes = {node.metadata.name: node for node in self._snapshot.nodes}
        for name in dict.fromkeys(hosts):
            if name in nodes and name not in self._found:
                self._found[name] = tuple(self._look(nodes[name]))
            elif name == names.EDGE and name not in self._found:
                tables = self._compared(name, edge_tables(self._snapshot), "the edge writes")
                self._found[name] = (*tables, *self._steering())
            yield from self._found.get(name, ())

    def _look(self, node: Node) -> Iterator[str]:
        if not node.internal_ip_of(self._snapshot.family):
            return  # its agent writes no rules either
        snapshot = self._snapshot
        services = build(snapshot.services, snapshot.slices, node, snapshot.family)
        view = View(node, snapshot.nodes, services)
        for part in parts(snapshot.lab):
            if part.keeper == RULES:
                tables = part.wanted(view).tables
                yield from self._compared(node.metadata.name, tables, "its agent writes")

    def _steering(self) -> Iterator[str]:
        """Yield a sentence if the edge lacks routing rules or routes of ports without a node port."""
        snapshot = self._snapshot
        if all(frontend.node_port for frontend in offered(snapshot.services, snapshot.family).frontends):
            return
        path = names.namespace_path(names.host_namespace(snapshot.name, names.EDGE))
        try:
            observed = own_rules(self._kernel.observe(path, policy=True))
        except KernelError:  # as for tables
            return
        wanted = steering_state(usable(snapshot.nodes, snapshot.family).backends, observed)
        lacking = [str(o) for o in diff(wanted, observed, lambda _: False) if o.verb is not Verb.DELETE]
        if lacking:
            yield f"the edge lacks routes of ports without a node port: {_first(lacking)}"

    def _compared(self, host: str, tables: Iterable[Ruleset], writer: str) -> Iterator[str]:
        path = names.namespace_path(names.host_namespace(self._snapshot.name, host))
        for wanted in tables:
            try:
                found = self._compare(path, wanted)
            except KernelError:  # a question that fails yields no hint
                continue
            if found:
                yield f"table {wanted.family} {wanted.table} of {host} differs from what {writer}: {_first(found)}"

    def _compare(self, path: str, wanted: Ruleset) -> tuple[str, ...]:
        observed = self._kernel.nft_list(path, wanted.family, wanted.table)
        with self._kernel.scratch() as scratch:
            return differences(observed, canonical(self._kernel, scratch, wanted), wanted)


def edge_tables(snapshot: Snapshot) -> tuple[Ruleset, ...]:
    """Return the table that the edge writes for the objects and the health that it has reported; none without a report."""
    lease = next((lease for lease in snapshot.leases if lease.key == EDGE_LEASE), None)
    if lease is None or not lease.has_reported:
        return ()
    nodes, healthy = usable(snapshot.nodes, snapshot.family).backends, {}
    for frontend in offered(snapshot.services, snapshot.family).frontends:
        found = lease.healthy_nodes.get(frontend.service_key, {}).get(frontend.port_key, ())
        healthy[frontend] = tuple(node for node in nodes if node.name in found)
    return (compile_rules(snapshot.family, Balancing(healthy, nodes)),)


def differences(observed: Listing, canonical: Listing, wanted: Ruleset) -> tuple[str, ...]:
    """Return how a table differs from what is wanted, in words; `canonical` is how nft prints the wanted table."""
    if not observed.exists:
        return ("the table does not exist",)
    damage = compare(observed, canonical, wanted)
    return (
        *(f"chain {name} is missing" for name in damage.missing_chains),
        *(f"chain {name} has a different hook, priority or policy" for name in damage.unhooked_chains),
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
        return f"chain {name} has {len(found) or 'no'} rules instead of {len(expected)}"
    pair = next(((has, wants) for has, wants in zip(found, expected, strict=True) if has != wants), ("", ""))
    return f"chain {name} contains `{pair[0]}` instead of `{pair[1]}`"


def _first(found: Sequence[str]) -> str:
    """Return the first findings, and the number of the others."""
    more = len(found) - MOST_NAMED
    return "; ".join(found[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _bare(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if not line.startswith("type ")]


def _listed(elements: Collection[str]) -> str:
    more = f" and {len(elements) - 1} more" if len(elements) > 1 else ""
    return f"`{next(iter(elements))}`{more}"
