"""Expected against observed: pass, fail or not tested, with the reasons as sentences. Pure.

The order matters: what could not be tested comes first; then whether the packet got through as it must; only of a
packet that did get through are backend, source address and encapsulation questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from netlab.probe.plan.checks import Ask, Check, Encapsulation, LookUp, Visit
from netlab.probe.plan.outcome import Outcome
from netlab.probe.run.observed import Observed


class Result(Enum):
    """The verdict's word."""

    PASSED = "pass"
    FAILED = "fail"
    NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Verdict:
    """`actual` is the outcome with backends, sources and encapsulation taken into account; `hints` explain (`hints`)."""

    result: Result
    actual: Outcome
    reasons: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


Fault = tuple[Outcome, str]


def judge(check: Check, observed: Observed) -> Verdict:
    """Compare the expected with the observed outcome."""
    expected = check.expectation
    if observed.outcome is Outcome.NOT_TESTED:
        return Verdict(Result.NOT_TESTED, Outcome.NOT_TESTED, (observed.detail,))
    if observed.outcome not in expected.outcomes:
        return Verdict(Result.FAILED, observed.outcome, tuple(_wrong_outcome(check, observed)))
    if observed.outcome is not Outcome.ALLOWED:
        return _stopped(check, observed)
    judges = (_answers, _own_server) if isinstance(check.action, Ask | LookUp) else (_backends, _nodes, _sources, _encapsulated)
    faults: list[Fault] = [fault for look in judges for fault in look(check, observed)]
    for outcome, _ in faults:
        if outcome is not Outcome.NOT_TESTED:
            return Verdict(Result.FAILED, outcome, tuple(sentence for word, sentence in faults if word is not Outcome.NOT_TESTED))
    if faults:
        return Verdict(Result.NOT_TESTED, Outcome.NOT_TESTED, tuple(sentence for _, sentence in faults))
    unseen = check.expectation.backends and not any(h.backend for h in observed.hits)
    return Verdict(Result.PASSED, Outcome.ALLOWED, ("the captures do not show which backend answered",) if unseen else ())


def _wrong_outcome(check: Check, observed: Observed) -> Iterator[str]:
    expected = check.expectation
    wanted = " or ".join(o.word for o in expected.outcomes)
    because = f" ({expected.reason})" if expected.reason else ""
    detail = f": {observed.detail}" if observed.detail else ""
    yield f"expected {wanted}{because}, got {observed.outcome.word}{detail}"
    yield from _where_it_ended(observed)
    yield from _untranslated(check, observed)
    answers = [s for s in observed.trail if s.packet.answer]
    if answers:
        first, last = answers[0], answers[-1]
        yield f"{first.packet.word} came from {first.packet.source}, first seen at {first.where}, last at {last.where}"


def _untranslated(check: Check, observed: Observed) -> Iterator[str]:
    """Yield a sentence if no rule took a packet for a Service's address: it reached a node and kept its destination."""
    action, node = check.action, check.source.node
    if not isinstance(action, Visit) or not check.expectation.backends or not observed.requests:
        return
    last = observed.requests[-1]
    in_bridge = last.device.startswith("veth")  # a frame that is yet to cross the bridge may not have met the rules
    if last.namespace == node and not in_bridge and last.packet.destination == action.address:
        yield f"no rule of {node} translated {action.address}:{action.port} to a backend"


def _stopped(check: Check, observed: Observed) -> Verdict:
    """Judge a packet that was stopped as expected: it must have ended where the rule is that stops it.

    Else it was lost on the way there, or went past the rule and only its answer was lost. A node's own packets are stopped
    before any interface: for them, and only for them, "not seen at all" is right.
    """
    ends, last = check.expectation.ends, observed.requests[-1].namespace if observed.requests else ""
    where = tuple(_where_it_ended(observed))
    if not ends or last == ends or (not last and check.source.name == ends):
        return Verdict(Result.PASSED, observed.outcome, where)
    if not last:
        reason = f"got {observed.outcome.word} as expected, but no capture shows where the packet ended{_blindness(observed)}"
        return Verdict(Result.NOT_TESTED, Outcome.NOT_TESTED, (reason,))
    reason = f"got {observed.outcome.word} as expected, but {_from(last, ends)}"
    return Verdict(Result.FAILED, observed.outcome, (reason, *where))


def _from(last: str, ends: str) -> str:
    went = f"the request reached {last}" if "/" in last else f"the request ended at {last}"
    return f"{went}; {ends} must stop it"


def _where_it_ended(observed: Observed) -> Iterator[str]:
    if observed.lost_data:
        yield (
            "the connection was established, then its data was lost; the place is unknown because captures hold only"
            " the first packets of a connection"
        )
    elif observed.last_seen:
        yield f"the request was last seen at {observed.last_seen}"
    elif observed.trail or observed.outcome is Outcome.DROPPED:
        yield "the request was not observed on any interface"


def _answers(check: Check, observed: Observed) -> Iterator[Fault]:
    expected = check.expectation
    if observed.response_code not in expected.response_codes:
        yield Outcome.DNS_FAILED, f"expected {' or '.join(expected.response_codes)}, got {observed.response_code}"
    missing, extra = expected.answers - observed.records, observed.records - expected.answers
    if missing:
        yield Outcome.DNS_FAILED, f"the answer lacks {', '.join(sorted(missing))}"
    if extra and expected.exact:
        yield Outcome.DNS_FAILED, f"the answer also contains {', '.join(sorted(extra))}"
    if not (expected.answers or observed.records or observed.authority) and expected.exact:
        yield Outcome.DNS_FAILED, "an answer without records must contain the SOA of the zone (semantics 11.11)"


def _backends(check: Check, observed: Observed) -> Iterator[Fault]:
    expected = check.expectation
    if not expected.backends:
        return
    seen = {h.backend for h in observed.hits if h.backend}
    if foreign := seen - set(expected.backends):
        yield Outcome.WRONG_BACKEND, f"{', '.join(sorted(foreign))} answered, but only {', '.join(expected.backends)} may answer"
    for hit in observed.hits:
        if hit.pod and hit.named and hit.pod != hit.named:
            yield Outcome.WRONG_BACKEND, f"the packet went to {hit.backend} ({hit.named}), but the response names {hit.pod}"
    if missing := expected.wanted - seen:
        yield (
            Outcome.NOT_TESTED if observed.blind else Outcome.WRONG_BACKEND,
            f"{', '.join(sorted(missing))} never answered in {observed.attempts} connections{_blindness(observed)}",
        )
    if expected.sticky and len(seen) > 1:
        yield Outcome.WRONG_BACKEND, f"session affinity: {len(seen)} backends answered one client ({', '.join(sorted(seen))})"


def _nodes(check: Check, observed: Observed) -> Iterator[Fault]:
    """The load balancer must use every node that serves."""
    if missing := check.expectation.nodes - {h.node for h in observed.hits}:
        yield (
            Outcome.NOT_TESTED if observed.blind else Outcome.WRONG_BACKEND,
            f"the edge never chose {', '.join(sorted(missing))} in {observed.attempts} connections{_blindness(observed)}",
        )


def _own_server(check: Check, observed: Observed) -> Iterator[Fault]:
    """kube-dns has internalTrafficPolicy Local: a question never leaves its node (contracts)."""
    if isinstance(check.action, Ask) and not check.action.stays:
        return
    if away := {s.namespace for s in observed.requests if s.namespace not in {check.source.name, check.source.node}}:
        yield (
            Outcome.WRONG_BACKEND,
            f"the query left its node although kube-dns has internalTrafficPolicy Local: seen at {', '.join(sorted(away))}",
        )


def _blindness(observed: Observed) -> str:
    return f" (the captures are incomplete: {observed.blind})" if observed.blind else ""


def _sources(check: Check, observed: Observed) -> Iterator[Fault]:
    """The server must see the right source, by the captured packet and by its own account."""
    told = set()
    for hit in observed.hits:
        allowed = check.expectation.sources.get(hit.backend, frozenset())
        accounts = {"saw": hit.source, "reported": hit.client}
        wrong = {word: source for word, source in accounts.items() if allowed and source and source not in allowed}
        if len(set(wrong.values())) == 1 and len(wrong) == 2:
            wrong = {"saw and reported": hit.source}
        for account, source in wrong.items():
            if (hit.backend, account, source) not in told:
                told.add((hit.backend, account, source))
                server = hit.backend or "the server"
                yield (
                    Outcome.WRONG_SOURCE,
                    f"expected {server} to see {_either(allowed)}, but it {account} {_translation(check, source, allowed)}",
                )


def _either(addresses: frozenset[str]) -> str:
    return " or ".join(sorted(addresses))


def _translation(check: Check, source: str, allowed: frozenset[str]) -> str:
    own = check.source.address
    if source == own:
        return f"{source}: not masqueraded"
    how = "the source was translated" if own in allowed else "the source was translated to another address"
    return f"{source}: {how}"


def _encapsulated(check: Check, observed: Observed) -> Iterator[Fault]:
    """Between nodes a packet to a pod has the nodes' VXLAN header, and the inner addresses are unchanged."""
    expected = check.expectation.encapsulation
    if expected is None:
        return
    found = {s.packet.outer for s in observed.requests if s.packet.outer}
    if expected == Encapsulation():
        if found:
            yield (
                Outcome.NOT_ENCAPSULATED,
                f"the packet left its node although its target is on the same node: {_header(found.pop())}",
            )
        return
    if wrong := found - {expected}:
        yield Outcome.NOT_ENCAPSULATED, f"expected {_header(expected)}, captured {_header(wrong.pop())}"
    elif not found and observed.requests:
        blind = bool(observed.blind)
        sentence = f"the packet crossed without VXLAN: no header at {len(observed.requests)} capture points{_blindness(observed)}"
        yield Outcome.NOT_TESTED if blind else Outcome.NOT_ENCAPSULATED, sentence


def _header(outer: Encapsulation) -> str:
    return f"{outer.source} > {outer.destination} UDP {outer.port} VNI {outer.vni}"
