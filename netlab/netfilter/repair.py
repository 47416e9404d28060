"""The script that repairs a table: a chain was flushed, an element deleted, a rule added. Pure.

`netlab.netfilter.listing` compares the table as it is with the wanted one as the same nft prints it.
Where the two differ, and only there, the wanted text is written again.

What would surprise you
    - Chains in netlab's table that netlab did not create are removed: nothing else writes there
      (semantics 8.1). Other tables are never read.
    - Elements are written as the kernel would print them, which nft also reads.
    - A table that holds a name unfit for a script (created over netlink, not by nft) is deleted and
      written as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from netlab.netfilter.listing import Damage, Listing, compare, element_key
from netlab.netfilter.ruleset import Ruleset
from netlab.netfilter.script import chain_command, element_commands, render, set_command
from netlab.netfilter.vetting import UnsafeTextError, check_element, check_name, script_of


def repair(observed: Listing, canonical: Listing, new: Ruleset) -> str:
    """Return the script that turns the observed table into `new`, empty when it is right already."""
    if not observed.exists:
        return render(new)
    damage = compare(observed, canonical, new)
    try:
        for name in (*damage.strange_chains, *damage.strange_sets):
            check_name("name", name)
        for element in (e for elements in damage.strange_elements.values() for e in elements):
            check_element(element_key(element))
    except UnsafeTextError:
        return f"delete table {new.family} {new.table}\n{render(new)}"
    return script_of(_write(f"{new.family} {new.table}", damage, new))


def _write(table: str, damage: Damage, new: Ruleset) -> Iterator[str]:
    """Write the repairs in the order that `netlab.netfilter.script` explains."""
    yield from (f"flush chain {table} {name}" for name in (*damage.changed_chains, *damage.strange_chains))
    yield from element_commands("delete", table, _as_members(damage.strange_elements, whole=False))
    yield from (f"delete chain {table} {name}" for name in damage.unhooked_chains)
    yield from (set_command(table, new.sets[name]) for name in damage.missing_sets)
    yield from (chain_command(table, new.chains[name]) for name in (*damage.missing_chains, *damage.unhooked_chains))
    for name in (*damage.missing_chains, *damage.changed_chains):
        yield from (f"add rule {table} {name} {rule}" for rule in new.chains[name].rules)
    yield from element_commands("add", table, _as_members(damage.missing_elements, whole=True))
    yield from (f"delete set {table} {name}" for name in damage.strange_sets)
    yield from (f"delete chain {table} {name}" for name in damage.strange_chains)


def _as_members(elements: Mapping[str, Iterable[str]], *, whole: bool) -> dict[str, dict[str, str]]:
    return {name: {text if whole else element_key(text): "" for text in texts} for name, texts in elements.items()}
