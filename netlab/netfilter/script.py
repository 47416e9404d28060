"""From rulesets to nft scripts: a table from nothing, or the difference between two.

A script is one transaction: the kernel takes all of it or nothing, and packets see either the old rules or the new.
It is written in seven steps, and the order is the point: whatever points to a thing comes after it when things are
made, and before it when they go.

    1 empty    chains that change, and chains that go: nothing in them points anywhere any more
    2 forget   elements that go or change their value; then sets that are made anew
    3 make     sets and maps
    4 make     chains (empty)
    5 fill     rules
    6 point    elements: the moment the dispatch maps lead to the new chains
    7 delete   sets and chains that nothing points to any more

What would surprise you
    - kube-proxy empties a stale chain at once and deletes it a second later (semantics 8.11), because kernels of 2022
      let go of a chain only some time after the map element that named it. Maintained kernels (6.4 and on, and the
      stable 6.1 and 5.15 series with that fix) let go inside the transaction, so step 7 deletes at once; the kernel
      then never lists a chain that no ruleset has, and `repair` may compare exactly.
    - A set cannot change its type or timeout: it is deleted and made again, and every chain that names it is emptied
      before and filled after, even if its text stays the same.
    - A changed base chain (hook, priority) is likewise deleted and made again.
    - The last thing done with a script is to look for characters that no command has (`vetting.script_of`); what the
      commands are made of has been vetted before, fragment by fragment.
    - Elements of one set are written many to a command: nft reads ten thousand at once far faster than one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from netlab.netfilter.ruleset import EMPTY, Chain, Fragment, Ruleset, Set, described, merge
from netlab.netfilter.vetting import script_of

ELEMENTS_PER_COMMAND = 500
Members = Mapping[str, Mapping[str, str]]


def render(ruleset: Ruleset) -> str:
    """Return the script that makes the whole table where there is none."""
    comment = f" {{ {described(ruleset.comment)} }}" if ruleset.comment else ""
    return script_of([f"add table {ruleset.family} {ruleset.table}{comment}"]) + contents(ruleset)


def contents(ruleset: Ruleset) -> str:
    """Return the script that fills the table where it is there and empty."""
    return _difference(ruleset, Fragment(), ruleset.whole)


def transaction(old: Ruleset | None, new: Ruleset) -> str:
    """Return the script that turns `old` into `new`, empty when they are equal. None: the table does not exist yet."""
    if old is None:
        return render(new)
    if old is new:
        return ""
    before, after = changed_fragments(old.fragments, new.fragments)
    return _difference(new, merge(before), merge(after))


def changed_fragments(old: Mapping[str, Fragment], new: Mapping[str, Fragment]) -> tuple[list[Fragment], list[Fragment]]:
    """Return the fragments of each side that the other does not have; those of unchanged things are the same object."""
    after = {key: fragment for key, fragment in new.items() if old.get(key) is not fragment}
    before = [old[key] for key in after if key in old]
    if len(new) - len(after) + len(before) != len(old):
        before += [fragment for key, fragment in old.items() if key not in new]
    return before, list(after.values())


@dataclass(frozen=True)
class Plan:
    """What differs between two fragments, as names; `_write` puts it in order."""

    make_chains: tuple[str, ...]
    delete_chains: tuple[str, ...]
    empty_chains: tuple[str, ...]
    fill_chains: tuple[str, ...]
    make_sets: tuple[str, ...]
    delete_sets: tuple[str, ...]
    remake_sets: tuple[str, ...]
    add_elements: Members
    delete_elements: Members


def _difference(ruleset: Ruleset, before: Fragment, after: Fragment) -> str:
    lines = _write(f"{ruleset.family} {ruleset.table}", _plan(before, after), before, after)
    return script_of(lines)


def _plan(before: Fragment, after: Fragment) -> Plan:
    remake_sets = {n for n, s in after.sets.items() if n in before.sets and before.sets[n] != s}
    remake_chains = {n for n, c in after.chains.items() if n in before.chains and before.chains[n].base != c.base}
    new_chains = [n for n in after.chains if n not in before.chains]
    stale_chains = [n for n in before.chains if n not in after.chains]
    rewrite = [
        name
        for name, chain in after.chains.items()
        if name in before.chains and (chain != before.chains[name] or (remake_sets and _names_any(chain.rules, remake_sets)))
    ]
    gone, come = _element_changes(before, after, remake_sets)
    return Plan(
        make_chains=(*new_chains, *sorted(remake_chains)),
        delete_chains=tuple(stale_chains),
        empty_chains=(*rewrite, *stale_chains),
        fill_chains=(*new_chains, *rewrite),
        make_sets=(*(n for n in after.sets if n not in before.sets), *sorted(remake_sets)),
        delete_sets=tuple(n for n in before.sets if n not in after.sets),
        remake_sets=tuple(sorted(remake_sets)),
        add_elements=come,
        delete_elements=gone,
    )


def _element_changes(before: Fragment, after: Fragment, remade: set[str]) -> tuple[Members, Members]:
    """Return elements to delete and to add; a changed value or comment is both. A set made anew starts empty."""
    gone: dict[str, Mapping[str, str]] = {}
    come: dict[str, Mapping[str, str]] = {}
    for name in (*before.elements, *(n for n in after.elements if n not in before.elements)):
        had, has = EMPTY if name in remade else before.elements.get(name, EMPTY), after.elements.get(name, EMPTY)
        former, now = before.comments.get(name, EMPTY), after.comments.get(name, EMPTY)
        other = {key for key in (*former, *now) if former.get(key) != now.get(key)}
        gone[name] = {key: value for key, value in had.items() if has.get(key) != value or key in other}
        come[name] = {key: value for key, value in has.items() if had.get(key) != value or key in other}
    return gone, come


def _names_any(rules: Iterable[str], names: Iterable[str]) -> bool:
    words = {word for rule in rules for word in rule.split()}
    return any(f"@{name}" in words for name in names)


def _write(table: str, plan: Plan, before: Fragment, after: Fragment) -> Iterator[str]:
    yield from (f"flush chain {table} {name}" for name in plan.empty_chains)
    remade_chains = [n for n in plan.make_chains if n in before.chains]
    yield from element_commands("delete", table, plan.delete_elements)
    yield from (f"delete chain {table} {name}" for name in remade_chains)
    yield from (f"delete {before.sets[name].noun} {table} {name}" for name in plan.remake_sets)
    yield from (set_command(table, after.sets[name]) for name in plan.make_sets)
    yield from (chain_command(table, after.chains[name]) for name in plan.make_chains)
    for name in plan.fill_chains:
        yield from (f"add rule {table} {name} {rule}" for rule in after.chains[name].rules)
    yield from element_commands("add", table, plan.add_elements, after.comments)
    yield from (f"delete {before.sets[name].noun} {table} {name}" for name in plan.delete_sets)
    yield from (f"delete chain {table} {name}" for name in plan.delete_chains)


def set_command(table: str, declared: Set) -> str:
    """Return the command that makes a set or map."""
    return f"add {declared.noun} {table} {declared.name} {{ {declared} }}"


def chain_command(table: str, chain: Chain) -> str:
    """Return the command that makes a chain, without rules."""
    return f"add chain {table} {chain.name}" + (f" {{ {chain.declaration} }}" if chain.declaration else "")


def element_commands(verb: str, table: str, members: Members, comments: Members | None = None) -> Iterator[str]:
    """Yield `add element` or `delete element` commands, many elements to a command."""
    for name, pairs in members.items():
        items = iter(pairs.items())
        told = (comments or {}).get(name, EMPTY)
        while batch := list(islice(items, ELEMENTS_PER_COMMAND)):
            texts = (key if verb == "delete" else _element(key, value, told.get(key, "")) for key, value in batch)
            yield f"{verb} element {table} {name} {{ {', '.join(texts)} }}"


def _element(key: str, value: str, comment: str) -> str:
    told = f' comment "{comment}"' if comment else ""
    return f"{key}{told} : {value}" if value else f"{key}{told}"
