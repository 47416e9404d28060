"""What of the daemon depends on the lab's runtime; `machinery_netns` and `machinery_docker` put it together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass

from netlab.api.lab import HostStatus, Lab
from netlab.hosts.hosts import Runtime
from netlab.kernel.door import Kernel
from netlab.node.pods.runtime import PodRuntime
from netlab.state import StateDirectory


@dataclass(frozen=True)
class Machinery:
    """The parts.

    `processes` brings the daemon's processes of the hosts to what a lab with these nodes should have; `end_homeless` ends those
    whose namespace is another one than it was, `resume` has those go on that somebody has stopped. `agent_starts` tells
    when a host's agent was started, or what may be it: nobody else's Lease counts. `run` is a task beside the daemon's own; it
    ends the daemon when the machinery breaks.
    """

    kernel: Kernel
    hosts: Runtime
    pods: PodRuntime
    processes: Callable[[Lab, Sequence[HostStatus]], Awaitable[None]]
    end_homeless: Callable[[], Awaitable[None]]
    resume: Callable[[], None]
    agent_starts: Callable[[str], Collection[int]]
    run: Callable[[], Coroutine[None, None, None]]


Maker = Callable[[Kernel, StateDirectory, Lab], Machinery]
