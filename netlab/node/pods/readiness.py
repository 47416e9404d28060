"""Readiness probes: when a container may have traffic (semantics 5.5).

The state machine is pure: a result and a time go in, a state comes out. Kubernetes' rules:
  - a container with a readiness probe starts not ready, one without is ready as soon as it runs;
  - `successThreshold` successes in a row make it ready, `failureThreshold` failures in a row make it unready; a
    container that fails only loses traffic, it is not restarted;
  - the first probe runs `initialDelaySeconds` after the container's start, the next ones every `periodSeconds`.
A container is *settled* once either threshold has been reached: then `up` need not wait for it any more.

The effects (sockets in the node's namespace, commands in the pod) are in `netlab.node.kubelet.readiness_probes`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from netlab.api.pods import Probe


@dataclass(frozen=True)
class Result:
    """The outcome of one probe and, when it failed, why."""

    success: bool
    message: str = ""


@dataclass(frozen=True)
class Readiness:
    """The results of the probes of one container so far."""

    ready: bool = False
    settled: bool = False
    successes: int = 0  # in a row
    failures: int = 0  # in a row
    message: str = ""


NOT_PROBED = Readiness()
NO_PROBE = Readiness(ready=True, settled=True)


def initial(probe: Probe | None) -> Readiness:
    """Return the readiness of a container that has just started."""
    return NO_PROBE if probe is None else NOT_PROBED


def observe(state: Readiness, result: Result, probe: Probe) -> Readiness:
    """Return the state after one more result."""
    if result.success:
        counted = replace(state, successes=state.successes + 1, failures=0)
        if counted.successes >= probe.success_threshold:
            return replace(counted, ready=True, settled=True, message="")
        return counted
    counted = replace(state, successes=0, failures=state.failures + 1, message=result.message)
    if counted.failures >= probe.failure_threshold:
        return replace(counted, ready=False, settled=True)
    return counted


def next_time(probe: Probe, started: float, last: float | None) -> float:
    """Return when the next probe is due; `last` is when the last one was due, None before the first."""
    return started + probe.initial_delay_seconds if last is None else last + max(1, probe.period_seconds)
