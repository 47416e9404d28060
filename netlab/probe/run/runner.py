"""Carries out checks: captures open, probes run concurrently, captures close. All in one process and one thread.

Checks overlap (at most BUSY_CHECKS at a time: more would measure the tester, not the lab). Those that end in a timeout
are started first, so that they wait while the others work, and waiting takes no slot. Each namespace is entered only for
the microseconds it takes to make a socket, and the event loop's thread is back in its own when anything else runs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from netlab.dataplane import names
from netlab.errors import KernelError
from netlab.kernel.door import Kernel
from netlab.kernel.namespaces import OWN, inside
from netlab.probe.plan.checks import Check, Kind, Reach
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.snapshot import Snapshot
from netlab.probe.run.capture import Capture
from netlab.probe.run.neighbours import Meetings
from netlab.probe.run.observed import Observed
from netlab.probe.run.ports import PORTS, source_ports
from netlab.probe.run.prober import Prober
from netlab.probe.run.servers import Servers
from netlab.probe.run.vantage import BrokenProbeError, Keys, Vantage

BUSY_CHECKS = 24
SLOT_SECONDS = 0.1  # a probe that takes longer only waits for its timeout and leaves its slot to others
MOST_POD_CAPTURES = 48  # beyond so many, the other pods' packets are seen at their nodes' ends of the veth pairs
WAITING = frozenset({Outcome.DROPPED, Outcome.UNREACHABLE, Outcome.REFUSED})

Progress = Callable[[int, int], None]
ResolvConf = Callable[[str], str]
Row = tuple[Check, Observed]


@dataclass
class Run:
    """The state that the phases of one test share. `missing` and `lost`: what captures did not see, by place."""

    kernel: Kernel
    progress: Progress
    timeout: float
    resolv_conf: ResolvConf
    ports: range = PORTS
    missing: dict[str, str] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    async def checks(self, snapshot: Snapshot, planned: Sequence[Check]) -> list[Row]:
        """Carry out checks; return what was observed, in their order."""
        if not planned:
            return []
        capture = Capture(inside, snapshot.lab.spec.networking.backend.port)
        prober = self._prober(snapshot, capture)
        try:
            fabric = names.namespace_path(names.host_namespace(snapshot.name, names.FABRIC))
            await capture.open(listening_places(snapshot, planned), quiet=(fabric, OWN))
            rows = await _run_all(prober, planned, self.progress)
        finally:
            await prober.servers.close()
            capture.close()
        self.missing |= capture.missing
        self.lost |= capture.lost
        blind = blindness(capture)
        return [(check, replace(observed, blind=blind) if blind else observed) for check, observed in rows]

    def _prober(self, snapshot: Snapshot, capture: Capture) -> Prober:
        seed = random.SystemRandom().getrandbits(32)
        ports = source_ports(_ports_of_flows(snapshot, self.kernel), seed, self.ports)
        uids = {p.key: p.metadata.uid for p in snapshot.live_pods}
        return Prober(
            vantage=partial(Vantage, enter=inside, keys=Keys(seed), ports=ports, timeout=self.timeout),
            capture=capture,
            servers=Servers(inside),
            dns_address=snapshot.dns_address,
            nodes={n.name: n.address for n in snapshot.node_places},
            pods={p.address: p.name.rpartition("/")[2] for p in snapshot.pod_places},
            resolv_conf=lambda pod: self.resolv_conf(uids[pod]),
            met=Meetings(snapshot, self.kernel).note,
        )


def no_resolv_conf(uid: str) -> str:
    raise BrokenProbeError(f"no resolv.conf found for the pod with uid {uid}")


def _ports_of_flows(snapshot: Snapshot, kernel: Kernel) -> set[int]:
    """Return the source ports of the datagrams that the hosts with rules remember; of one that cannot be asked, none."""
    hosts = [*(place.namespace for place in snapshot.node_places), names.host_namespace(snapshot.name, names.EDGE)]
    found: set[int] = set()
    for namespace in hosts:
        with suppress(KernelError):
            found |= kernel.tracked_ports(names.namespace_path(namespace), "udp")
    return found


def listening_places(snapshot: Snapshot, planned: Sequence[Check]) -> list[tuple[str, str]]:
    """Return where to capture: every host, and the pods that take part (a bounded number of them)."""
    hosts = [(p.name, p.namespace) for p in (*snapshot.node_places, *snapshot.client_places)]
    middle = [(name, names.host_namespace(snapshot.name, name)) for name in (names.EDGE, names.FABRIC)]
    backends = {a for s in snapshot.slices for e in s.endpoints for a in e.addresses}
    parts = {p.name: p.namespace for c in planned for p in _places(c) if p.kind is Kind.POD}
    pods = [(p.name, p.namespace) for p in snapshot.pod_places if p.name in parts or p.address in backends]
    return [*hosts, *middle, *pods[:MOST_POD_CAPTURES]]


def _places(check: Check) -> tuple[Any, ...]:
    return (check.source, check.action.target) if isinstance(check.action, Reach) else (check.source,)


async def _run_all(prober: Prober, planned: Sequence[Check], progress: Progress) -> list[tuple[Check, Observed]]:
    """Run checks concurrently, those that wait longest first; return results in the plan's order."""
    slots, done = asyncio.Semaphore(BUSY_CHECKS), 0

    async def run(check: Check) -> Observed:
        nonlocal done
        async with slots:
            probing = asyncio.ensure_future(prober.run(check))
            await asyncio.wait({probing}, timeout=SLOT_SECONDS)
        observed = await probing
        done += 1
        progress(done, len(planned))
        return observed

    first = sorted(range(len(planned)), key=lambda i: planned[i].expectation.outcome not in WAITING)
    tasks = {i: asyncio.ensure_future(run(planned[i])) for i in first}
    try:
        await asyncio.gather(*tasks.values())
    finally:
        for task in tasks.values():
            task.cancel()
    return [(check, tasks[i].result()) for i, check in enumerate(planned)]


def blindness(capture: Capture) -> str:
    """Return why a packet that was not seen may have been there nevertheless; empty when it would have been seen."""
    missing = [f"cannot capture packets in {place}" for place in sorted(capture.missing)]
    lost = [f"the capture in {place} lost {number} packets" for place, number in sorted(capture.lost.items())]
    return "; ".join((*missing, *lost))
