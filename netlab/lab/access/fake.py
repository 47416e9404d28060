"""Hosts and pods of a lab in memory, for tests of the verbs: the fake of `HostAccess`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from netlab.api.pods import Pod
from netlab.errors import UsageError
from netlab.lab.access.interface import AgentState


@dataclass
class FakeAccess:
    """Does nothing to the machine; `calls` lists what was run and removed, in order.

    `run` gets a host's name, or `namespace/pod container`, and the command; it returns an exit code.
    """

    run: Callable[[str, Sequence[str]], int] = lambda _where, _command: 0
    logs: dict[str, str] = field(default_factory=dict)  # by process
    outputs: dict[tuple[str, str], str] = field(default_factory=dict)  # by pod and container
    agents: dict[str, AgentState] = field(default_factory=dict)  # by host
    containers: int = 0
    networks: int = 0
    calls: list[str] = field(default_factory=list)

    def run_on_host(self, host: str, command: Sequence[str]) -> int:
        return self._run(host, command)

    def run_in_pod(self, pod: Pod, container: str, command: Sequence[str]) -> int:
        return self._run(f"{pod.key} {container}", command)

    def process_logs(self) -> tuple[str, ...]:
        return tuple(sorted(self.logs))

    def process_log(self, name: str) -> str | None:
        return self.logs.get(name)

    def container_log(self, pod: Pod, container: str) -> str:
        if (pod.key, container) not in self.outputs:
            raise UsageError(f"container {container!r} of pod {pod.key} has no output")
        return self.outputs[pod.key, container]

    def agent_state(self, host: str) -> AgentState:
        return self.agents.get(host, AgentState.DEAD)

    def remove_containers(self) -> int:
        self.calls.append("remove containers")
        removed, self.containers = self.containers, 0
        return removed

    def remove_networks(self) -> None:
        self.calls.append("remove networks")
        self.networks = 0

    def _run(self, where: str, command: Sequence[str]) -> int:
        self.calls.append(f"{where}: {' '.join(command)}")
        return self.run(where, command)
