"""From what the kernel shows back to what is wanted: somebody flushed a chain, deleted an element, added a rule.

Two texts of the same rule need not be equal: nft prints `ip daddr 10.0.0.0/8 masquerade fully-random` its own way, and
every version of nft a little differently. So the wanted rules are never compared as written. The kernel is asked to
print both: `observed` is the table as it is, `canonical` how the same nft prints the wanted table after loading it under
another name. Where the two differ, and only there, the wanted text is written again.

What would surprise you
    - Chains that a stranger made in our table are removed: nobody else writes there (semantics 8.1). Other tables are
      never looked at.
    - Elements are put back as the kernel would print them, which nft also reads.
    - A table with a name in it that could not stand in a script (made past nft, by netlink) is deleted and made anew.
    - Sets filled by packets (session affinity) are not compared: what is in them is the clients' doing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from netlab.netfilter.ruleset import Ruleset
from netlab.netfilter.script import chain_command, element_commands, render, set_command
from netlab.netfilter.vetting import UnsafeTextError, check_element, check_name, script_of


class Listing(Protocol):
    """A table in nft's words: chain -> rules (a base chain's `type ...` line first), set -> elements."""

    @property
    def chains(self) -> Mapping[str, tuple[str, ...]]: ...

    @property
    def elements(self) -> Mapping[str, tuple[str, ...]]: ...

    @property
    def exists(self) -> bool: ...


@dataclass(frozen=True)
class Damage:
    """How an observed table differs from the canonical one, as names."""

    strange_chains: tuple[str, ...]
    missing_chains: tuple[str, ...]
    unhooked_chains: tuple[str, ...]  # base chains whose hook, priority or policy somebody changed
    changed_chains: tuple[str, ...]
    strange_sets: tuple[str, ...]
    missing_sets: tuple[str, ...]
    strange_elements: Mapping[str, tuple[str, ...]]
    missing_elements: Mapping[str, tuple[str, ...]]


def repair(observed: Listing, canonical: Listing, new: Ruleset) -> str:
    """Return the script that turns the observed table into `new`, empty when it is right already."""
    if not observed.exists:
        return render(new)
    damage = inspect(observed, canonical, new)
    try:
        for name in (*damage.strange_chains, *damage.strange_sets):
            check_name("name", name)
        for key in (_key(element) for elements in damage.strange_elements.values() for element in elements):
            check_element(key)
    except UnsafeTextError:
        return f"delete table {new.family} {new.table}\n{render(new)}"
    return script_of(_write(f"{new.family} {new.table}", damage, new))


def inspect(observed: Listing, canonical: Listing, new: Ruleset) -> Damage:
    """Compare a table with what it should be."""
    shared = [n for n in canonical.chains if n in observed.chains]
    unhooked = [n for n in shared if _hook(observed.chains[n]) != _hook(canonical.chains[n])]
    compared = [n for n in new.sets if not new.sets[n].filled_by_packets]
    strange: dict[str, tuple[str, ...]] = {}
    missing: dict[str, tuple[str, ...]] = {}
    for name in compared:
        has, wants = observed.elements.get(name, ()), canonical.elements.get(name, ())
        known, wanted = frozenset(has), frozenset(wants)
        strange[name] = tuple(e for e in has if e not in wanted)
        missing[name] = tuple(e for e in wants if e not in known)
    return Damage(
        strange_chains=tuple(n for n in observed.chains if n not in canonical.chains),
        missing_chains=tuple(n for n in new.chains if n not in observed.chains),
        unhooked_chains=tuple(unhooked),
        changed_chains=tuple(n for n in shared if observed.chains[n] != canonical.chains[n]),
        strange_sets=tuple(n for n in observed.elements if n not in new.sets),
        missing_sets=tuple(n for n in new.sets if n not in observed.elements),
        strange_elements=strange,
        missing_elements=missing,
    )


def _hook(lines: tuple[str, ...]) -> str:
    return lines[0] if lines and lines[0].startswith("type ") else ""


def _key(element: str) -> str:
    return element.partition(" : ")[0].partition(" comment ")[0].strip()


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
    return {name: {text if whole else _key(text): "" for text in texts} for name, texts in elements.items()}
