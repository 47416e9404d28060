"""A packet's way through the hooks of one host, by the rules of its tables: what may happen to it, and which rules did it.

How it works
    The way depends on where the packet comes from and, once DNAT has spoken, on where it goes:

        from an interface   prerouting -> input                      for the host itself
                            prerouting -> forward -> postrouting     for anybody else
        from a process      output -> postrouting                    for anybody else
                            output -> postrouting -> prerouting -> input   for the host itself, over lo

    At each hook the base chains of all tables run in order of priority (equal ones in order of the tables given).
    `accept` ends a base chain, not the journey; `drop` and `reject` end everything.

What would surprise you
    - A `nat` chain is asked only about the first packet of a flow, and the first nat chain that translates ends the
      question for all others at that hook, whichever table they are in.
    - On the way over lo the packet is still `new`, so filters see it twice, but nat has been decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from netlab.errors import NetlabError
from netlab.netfilter.language import (
    Context,
    Kind,
    Packet,
    UnknownRuleError,
    Verdict,
    evaluate,
    is_loopback,
)
from netlab.netfilter.ruleset import Chain, ChainType, Hook, Ruleset

DEEPEST_JUMP = 16  # as the kernel: deeper is a loop


@dataclass(frozen=True)
class Host:
    """The host the packet is on. `remembered`: affinity set -> clients in it; None means "could be anything".

    `routed_marks`: packets with one of these marks are sent on by a routing rule, even to an address of the host's own.
    """

    addresses: frozenset[str]
    remembered: Mapping[str, frozenset[str]] | None = None
    routed_marks: frozenset[int] = frozenset()

    def takes(self, packet: Packet) -> bool:
        """Tell whether a packet is for the host itself."""
        return packet.mark not in self.routed_marks and self.owns(packet.destination)

    def owns(self, address: str) -> bool:
        """Tell whether an address is one of the host's own."""
        return address in self.addresses or is_loopback(address)


@dataclass(frozen=True)
class Outcome:
    """One thing that may happen: accept, drop or reject; where the packet goes then; and the rules that it matched."""

    verdict: Kind
    destination: str
    port: int
    masqueraded: bool = False
    mark: int = 0  # what it carries on, also into a tunnel's outer packet
    rules: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.verdict is not Kind.ACCEPT:
            return str(self.verdict.value)
        mark = f" mark {self.mark:#x}" if self.mark else ""
        return f"{self.destination}:{self.port}" + (" masqueraded" if self.masqueraded else "") + mark


@dataclass(frozen=True)
class _State:
    packet: Packet
    rules: tuple[str, ...] = ()
    nat_decided: bool = False


def trace(tables: Sequence[Ruleset], packet: Packet, host: Host) -> tuple[Outcome, ...]:
    """Return everything that may happen to the packet on this host, each outcome once, with the rules of one way there."""
    journey = _local if host.owns(packet.source) else _arriving
    found: dict[Outcome, Outcome] = {}
    for state, verdict in journey(tables, _State(packet), host):
        end = state.packet
        outcome = Outcome(verdict, end.destination, end.port, end.masqueraded, end.mark)
        found.setdefault(outcome, replace(outcome, rules=state.rules))
    return tuple(found.values())


_Ends = Iterator[tuple[_State, Kind]]


def _arriving(tables: Sequence[Ruleset], state: _State, host: Host) -> _Ends:
    for routed, verdict in _hook(tables, Hook.PREROUTING, state, host):
        if verdict is not Kind.ACCEPT:
            yield routed, verdict
        elif host.takes(routed.packet):
            yield from _hook(tables, Hook.INPUT, routed, host)
        else:
            yield from _through(tables, (Hook.FORWARD, Hook.POSTROUTING), routed, host)


def _local(tables: Sequence[Ruleset], state: _State, host: Host) -> _Ends:
    for left, verdict in _through(tables, (Hook.OUTPUT, Hook.POSTROUTING), state, host):
        if verdict is Kind.ACCEPT and host.owns(left.packet.destination):
            yield from _through(tables, (Hook.PREROUTING, Hook.INPUT), replace(left, nat_decided=True), host)
        else:
            yield left, verdict


def _through(tables: Sequence[Ruleset], hooks: tuple[Hook, ...], state: _State, host: Host) -> _Ends:
    if not hooks:
        yield state, Kind.ACCEPT
        return
    for after, verdict in _hook(tables, hooks[0], state, host):
        if verdict is Kind.ACCEPT:
            yield from _through(tables, hooks[1:], after, host)
        else:
            yield after, verdict


def _hook(tables: Sequence[Ruleset], hook: Hook, state: _State, host: Host) -> _Ends:
    called = [
        (chain.base.priority, table, chain)
        for table in tables
        for chain in table.chains.values()
        if chain.base and chain.base.hook is hook
    ]
    called.sort(key=lambda entry: entry[0])
    yield from _chains([(table, chain) for _, table, chain in called], hook, state, host)


def _chains(called: list[tuple[Ruleset, Chain]], hook: Hook, state: _State, host: Host) -> _Ends:
    if not called:
        yield state, Kind.ACCEPT
        return
    (table, chain), rest = called[0], called[1:]
    if _skipped(chain, hook, state):
        yield from _chains(rest, hook, state, host)
        return
    context = Context(table.whole, host.addresses, host.remembered)
    for after, verdict in _run(_Run(table, context), chain.name, 0, state, 0):
        kind = verdict.kind if verdict else Kind.ACCEPT
        if kind in {Kind.DROP, Kind.REJECT}:
            yield after, kind
        else:
            yield from _chains(rest, hook, after, host)


def _skipped(chain: Chain, hook: Hook, state: _State) -> bool:
    if chain.base is None or chain.base.type is not ChainType.NAT:
        return False
    translated = state.packet.masqueraded if hook is Hook.POSTROUTING else state.packet.translated
    return translated or state.nat_decided or state.packet.state != "new"


@dataclass(frozen=True)
class _Run:
    table: Ruleset
    context: Context


def _run(run: _Run, name: str, index: int, state: _State, depth: int) -> Iterator[tuple[_State, Verdict | None]]:
    """Run a chain from its rule `index` on. None as verdict: it ended without one, the caller goes on."""
    if depth > DEEPEST_JUMP:
        raise NetlabError(f"The chains of table {run.table.table} jump deeper than {DEEPEST_JUMP} at {name}: is there a loop?")
    chain = run.table.chains.get(name)
    if chain is None:
        raise UnknownRuleError(f"A rule of table {run.table.table} leads to the chain {name}, which does not exist.")
    if index == len(chain.rules):
        yield state, None
        return
    rule = chain.rules[index]
    for step in evaluate(rule, state.packet, run.context):
        matched = step.verdict or step.packet != state.packet
        trail = (*state.rules, f"{run.table.table} {name}: {rule}") if matched else state.rules
        after = replace(state, packet=step.packet, rules=trail)
        if step.verdict is None:
            yield from _run(run, name, index + 1, after, depth)
        elif step.verdict.kind is Kind.JUMP:
            yield from _jump(run, step.verdict.chain, (name, index + 1), after, depth)
        elif step.verdict.kind is Kind.GOTO:
            yield from _run(run, step.verdict.chain, 0, after, depth + 1)
        else:
            yield after, None if step.verdict.kind is Kind.RETURN else step.verdict


def _jump(run: _Run, target: str, back: tuple[str, int], state: _State, depth: int) -> Iterator[tuple[_State, Verdict | None]]:
    for after, verdict in _run(run, target, 0, state, depth + 1):
        if verdict is None:
            yield from _run(run, *back, after, depth)
        else:
            yield after, verdict
