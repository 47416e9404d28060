"""Access to a lab whose hosts and pods are network namespaces; processes and logs are on record."""

from __future__ import annotations

import os
from collections.abc import Sequence

from netlab.api.pods import Pod
from netlab.errors import UsageError
from netlab.hosts.hosts import path
from netlab.lab.access.interface import AgentState
from netlab.lab.pods import network_path
from netlab.process.enter import execute, stored_environment
from netlab.process.log_files import read_log
from netlab.process.marks import running_process
from netlab.process.podfiles import PodFiles
from netlab.process.records import agent_name, is_alive, is_stopped
from netlab.state import StateDirectory


class NetnsAccess:
    """The namespaces of one lab."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state

    def run_on_host(self, host: str, command: Sequence[str]) -> int:
        """Run a command with the capabilities and the environment of the caller."""
        folder = self._state.host(host)
        files = PodFiles(folder, of_host=True) if folder.is_dir() else None
        return execute(path(self._state.lab, host), command, dict(os.environ), files)

    def run_in_pod(self, pod: Pod, container: str, command: Sequence[str]) -> int:
        """Run a command in the network of a pod, with the environment of the container."""
        files = self._files(pod)
        environment = {**_terminal(), **stored_environment(files, container).whole}
        return execute(network_path(self._state.lab, pod), command, environment, files)

    def process_logs(self) -> tuple[str, ...]:
        """Return the names of the logs on record."""
        return self._state.recorded_logs()

    def process_log(self, name: str) -> str | None:
        """Return a log on record."""
        return read_log(self._state.log(name))

    def container_log(self, pod: Pod, container: str) -> str:
        """Return a log from the folder of a pod."""
        text = read_log(self._files(pod).log(container))
        if text is None:
            what = f"container {container!r} of pod {pod.key} has not written anything yet"
            raise UsageError(what)
        return text

    def agent_state(self, host: str) -> AgentState:
        """Look at the recorded process."""
        record = running_process(self._state, agent_name(host))
        if record is None or not is_alive(record):
            return AgentState.DEAD
        return AgentState.STOPPED if is_stopped(record) else AgentState.RUNNING

    def remove_containers(self) -> int:
        """Return 0: there are none."""
        return 0

    def remove_networks(self) -> None:
        """Return: there are none."""

    def _files(self, pod: Pod) -> PodFiles:
        return PodFiles(self._state.pod(pod.metadata.uid))


def _terminal() -> dict[str, str]:
    """Return what a command in a pod needs of the caller's environment: its terminal."""
    return {name: os.environ[name] for name in ("TERM", "LANG", "PATH") if name in os.environ}
