"""The Protocol `HostAccess`: run commands, read logs, look at agents, remove containers. Pure.

Rules:
1. A verb receives a `HostAccess` from `choice` and does not ask for the runtime of the lab.
2. Every method works without the daemon of the lab.
3. What all runtimes share stays in the verbs: names of namespaces, the record, the API objects.
4. A removal is idempotent: a lab without containers has 0 containers to remove.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from netlab.api.pods import Pod


class AgentState(Enum):
    """The state of the process that keeps the rules of a node or the edge."""

    RUNNING = "running"
    STOPPED = "stopped"  # by SIGSTOP: it is alive and does nothing
    DEAD = "dead"
    UNKNOWN = "unknown"  # the container of the host runs it: only the engine has its state


class HostAccess(Protocol):
    """The hosts and pods of one lab. All calls block."""

    def run_on_host(self, host: str, command: Sequence[str]) -> int:
        """Run a command as root of a host with this terminal.

        Returns the exit code, or becomes the command and does not return.
        """

    def run_in_pod(self, pod: Pod, container: str, command: Sequence[str]) -> int:
        """Run a command as the program of a container runs, else as `run_on_host`.

        Raises UsageError if the command needs a running container and there is none.
        """

    def process_logs(self) -> tuple[str, ...]:
        """Return the names of the processes of the lab that have a log, in order."""

    def process_log(self, name: str) -> str | None:
        """Return the log of a process; None if no process has this name."""

    def container_log(self, pod: Pod, container: str) -> str:
        """Return the output of a container's newest run. Raises UsageError if there is none."""

    def agent_state(self, host: str) -> AgentState:
        """Return the state of the agent of a node or of the edge."""

    def remove_containers(self) -> int:
        """Remove the containers of the lab and return their number.

        The engine may start containers during the removal, which a killed daemon requested.
        """

    def remove_networks(self) -> None:
        """Remove the networks of the lab, when its containers and namespaces are gone."""
