"""The parts of the daemon that depend on the runtime.

`machinery_netns` and `_docker` compose them.
"""

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

    `processes` starts and ends the hosts' processes so that they match these nodes; `end_homeless`
    ends those whose namespace was replaced; `resume` resumes stopped ones. `agent_starts` returns
    the start times of the processes that may be a host's agent: only their Leases count. `run` is
    an additional task of the daemon; it ends the daemon if the machinery fails.
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
