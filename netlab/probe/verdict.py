"""Expected against observed: pass, fail or not tested, with the reasons as sentences. Pure.

The order matters: what could not be tested is said first; then whether the packet got through as it must; only of a
packet that did get through are backend, source address and encapsulation questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from netlab.probe.checks import Ask, Check, Encapsulation
from netlab.probe.observed import Observed
from netlab.probe.outcome import Outcome


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
    """Compare what had to come with what came."""
    expected = check.expectation
    if observed.outcome is Outcome.NOT_TESTED:
        return Verdict(Result.NOT_TESTED, Outcome.NOT_TESTED, (observed.detail,))
    if observed.outcome not in expected.outcomes:
        return Verdict(Result.FAILED, observed.outcome, tuple(_wrong_outcome(check, observed)))
    if observed.outcome is not Outcome.ALLOWED:
        arrived = _arrived(check, observed)
        reasons = (arrived,) if arrived else tuple(_where_it_ended(observed))
        return Verdict(Result.FAILED if arrived else Result.PASSED, observed.outcome, reasons)
    judges = (_answers,) if isinstance(check.action, Ask) else (_backends, _sources, _encapsulated)
    faults: list[Fault] = [fault for look in judges for fault in look(check, observed)]
    for outcome, _ in faults:
        if outcome is not Outcome.NOT_TESTED:
            return Verdict(Result.FAILED, outcome, tuple(sentence for word, sentence in faults if word is not Outcome.NOT_TESTED))
    if faults:
        return Verdict(Result.NOT_TESTED, Outcome.NOT_TESTED, tuple(sentence for _, sentence in faults))
    unseen = check.expectation.backends and not any(h.backend for h in observed.hits)
    return Verdict(Result.PASSED, Outcome.ALLOWED, ("which backend answered was not observed",) if unseen else ())


def _wrong_outcome(check: Check, observed: Observed) -> Iterator[str]:
    expected = check.expectation
    wanted = " or ".join(o.word for o in expected.outcomes)
    because = f" ({expected.reason})" if expected.reason else ""
    detail = f": {observed.detail}" if observed.detail else ""
    yield f"expected {wanted}{because}, got {observed.outcome.word}{detail}"
    yield from _where_it_ended(observed)
    answers = [s for s in observed.trail if s.packet.answer]
    if answers:
        first, last = answers[0], answers[-1]
        yield f"{first.packet.word} came from {first.packet.source}, first seen at {first.where}, last at {last.where}"


def _arrived(check: Check, observed: Observed) -> str:
    """Say so when a packet that nobody may get was seen in a pod: then only its answer was lost, or a pod refused it."""
    pods = {s.namespace for s in observed.requests if "/" in s.namespace and s.namespace != check.source.name}
    return f"got {observed.outcome.word} as expected, but the request did arrive at {', '.join(sorted(pods))}" if pods else ""


def _where_it_ended(observed: Observed) -> Iterator[str]:
    if observed.last_seen:
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
        yield Outcome.DNS_FAILED, f"the answer also holds {', '.join(sorted(extra))}"
    if not expected.answers and expected.exact and not observed.authority:
        yield Outcome.DNS_FAILED, "an answer without records must carry the zone's SOA (semantics 11.11)"


def _backends(check: Check, observed: Observed) -> Iterator[Fault]:
    expected = check.expectation
    if not expected.backends:
        return
    seen = {h.backend for h in observed.hits if h.backend}
    if foreign := seen - set(expected.backends):
        yield Outcome.WRONG_BACKEND, f"{', '.join(sorted(foreign))} answered; only {', '.join(expected.backends)} may"
    for hit in observed.hits:
        if hit.pod and hit.named and hit.pod != hit.named:
            yield Outcome.WRONG_BACKEND, f"the packet went to {hit.backend} ({hit.named}), but {hit.pod} says that it answered"
    wanted = set(expected.backends) if expected.every else {expected.until} if expected.until else set()
    if missing := wanted - seen:
        yield (
            Outcome.NOT_TESTED if observed.blind else Outcome.WRONG_BACKEND,
            f"{', '.join(sorted(missing))} never answered in {observed.attempts} connections{_blindness(observed)}",
        )
    if expected.sticky and len(seen) > 1:
        yield Outcome.WRONG_BACKEND, f"session affinity: {len(seen)} backends answered one client ({', '.join(sorted(seen))})"


def _blindness(observed: Observed) -> str:
    return f" (the captures are incomplete: {observed.blind})" if observed.blind else ""


def _sources(check: Check, observed: Observed) -> Iterator[Fault]:
    """The server must see the right source, by the captured packet and by its own account."""
    told = set()
    for hit in observed.hits:
        allowed = check.expectation.sources.get(hit.backend)
        if not allowed:
            continue
        for account, source in (("saw", hit.source), ("says it saw", hit.client)):
            if source and source not in allowed and (hit.backend, account, source) not in told:
                told.add((hit.backend, account, source))
                server = hit.backend or "the server"
                yield (
                    Outcome.WRONG_SOURCE,
                    f"expected {server} to see {_either(allowed)}, it {account} {_translation(check, source)}",
                )


def _either(addresses: frozenset[str]) -> str:
    return " or ".join(sorted(addresses))


def _translation(check: Check, source: str) -> str:
    own = check.source.address
    return f"{source}: not masqueraded" if source == own else f"{source}: the source was translated"


def _encapsulated(check: Check, observed: Observed) -> Iterator[Fault]:
    """Between nodes a packet to a pod wears the nodes' VXLAN header, and the inner addresses are untouched."""
    expected = check.expectation.encapsulation
    if expected is None:
        return
    found = {s.packet.outer for s in observed.requests if s.packet.outer}
    if expected == Encapsulation():
        if found:
            yield Outcome.NOT_ENCAPSULATED, f"the packet left its node though the target is on it: {_header(found.pop())}"
        return
    if wrong := found - {expected}:
        yield Outcome.NOT_ENCAPSULATED, f"expected {_header(expected)}, captured {_header(wrong.pop())}"
    elif not found and observed.requests:
        blind = bool(observed.blind)
        sentence = f"the packet crossed without VXLAN: no header seen at {len(observed.requests)} points{_blindness(observed)}"
        yield Outcome.NOT_TESTED if blind else Outcome.NOT_ENCAPSULATED, sentence


def _header(outer: Encapsulation) -> str:
    return f"{outer.source} > {outer.destination} UDP {outer.port} VNI {outer.vni}"
