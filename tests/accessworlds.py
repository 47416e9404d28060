"""One lab behind each implementation of `HostAccess`, for its contract tests.

A world has the `access` and changes what is behind it: `start_agent`, `start_container`.
Commands of the contract are `sh -c "exit N"`; the fakes run no other.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from netlab.api.meta import ObjectMeta
from netlab.api.pods import Pod
from netlab.dataplane.fabric import Role
from netlab.dataplane.names import EDGE
from netlab.engine.fake import FakeEngine
from netlab.engine.protocol import (
    LAB_LABEL,
    OWNER_LABEL,
    ROLE_LABEL,
    Container,
    ContainerSpec,
    NetworkSpec,
)
from netlab.lab.access.docker import DockerAccess
from netlab.lab.access.fake import FakeAccess
from netlab.lab.access.interface import AgentState, HostAccess
from netlab.lab.access.netns import NetnsAccess
from netlab.node.pods.docker.containers import CONTAINER, NAME_LABEL, RUN_LABEL, SERVER_LABEL
from netlab.process.identity import start_time
from netlab.process.podfiles import INJECTED, PodFiles
from netlab.process.records import ProcessRecord, agent_name, write_record
from netlab.state import StateDirectory

IMAGE = "image:1"


def named_pod(name: str = "web") -> Pod:
    return Pod(metadata=ObjectMeta(name=name, namespace="default", uid=f"uid-{name}"))


def exit_code(_where: str, command: Sequence[str]) -> int:
    """Run `sh -c "exit N"`."""
    return int(command[-1].removeprefix("exit "))


class NetnsWorld:
    """Processes and files on record; its agents are `sleep`."""

    def __init__(self, lab: str, root: Path) -> None:
        self.state = StateDirectory(lab, root)
        self.state.create()
        self.access: HostAccess = NetnsAccess(self.state)
        self.agents: dict[str, subprocess.Popen[bytes]] = {}

    def start_agent(self, host: str, log: str) -> None:
        agent = self.agents[host] = subprocess.Popen(["sleep", "60"])
        start = start_time(agent.pid) or 0
        write_record(self.state, ProcessRecord(agent_name(host), agent.pid, start))
        self.state.log(agent_name(host)).write_text(log)

    def stop_agent(self, host: str) -> None:
        self.agents[host].send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.agents[host].pid, os.WSTOPPED)

    def kill_agent(self, host: str) -> None:
        self.agents[host].kill()
        self.agents[host].wait()

    def write_log(self, process: str, text: str) -> None:
        self.state.log(process).write_text(text)

    def start_container(self, pod: Pod, name: str, output: str) -> None:
        files = PodFiles(self.state.pod(pod.metadata.uid))
        files.etc.mkdir(parents=True, exist_ok=True)
        for injected in INJECTED:
            (files.etc / injected).write_text("")
        files.log(name).write_text(output)

    def close(self) -> None:
        for host in self.agents:
            self.kill_agent(host)


class DockerWorld:
    """Containers and the network of the lab in the fake engine, beside those of another lab."""

    def __init__(self, lab: str, root: Path) -> None:
        self.state = StateDirectory(lab, root)
        self.state.create()
        self.engine = FakeEngine(
            images={IMAGE: {}},
            answers=lambda where, command: (exit_code(where, command), ""),
        )
        for name, network in ((lab, "172.30"), ("other", "172.29")):
            labels = {LAB_LABEL: name}
            self.engine.create_network(
                NetworkSpec(f"netlab_{name}", f"{network}.0.0/16", f"{network}.0.3", labels),
            )
        self.start("other", {LAB_LABEL: "other"})
        connect = partial(nullcontext, self.engine)
        self.access: HostAccess = DockerAccess(self.state, connect, self.client)
        self.users: list[str] = []

    def client(self, container: str, command: Sequence[str], *, user: str = "") -> int:
        """Stand in for the client of the engine, which takes names as well."""
        [found] = [c.id for c in self.engine.containers({}) if container in {c.id, c.name}]
        self.users.append(user)
        return self.engine.run(found, command, 0)[0]

    def start(self, name: str, labels: dict[str, str], output: str = "") -> Container:
        [started] = self.engine.start([ContainerSpec(name, IMAGE, labels)])
        self.engine.written[name] = output
        return started

    def start_agent(self, host: str, log: str) -> None:
        role = Role.EDGE if host == EDGE else Role.NODE
        labels = {LAB_LABEL: self.state.lab, ROLE_LABEL: role.value, OWNER_LABEL: host}
        self.start(f"netlab_{self.state.lab}_{host}", labels, log)

    def write_log(self, process: str, text: str) -> None:
        self.state.log(process).write_text(text)

    def start_container(self, pod: Pod, name: str, output: str) -> Container:
        runs = self.engine.containers({OWNER_LABEL: pod.metadata.uid})
        labels = {
            LAB_LABEL: self.state.lab,
            ROLE_LABEL: CONTAINER,
            OWNER_LABEL: pod.metadata.uid,
            NAME_LABEL: name,
            RUN_LABEL: str(len(runs)),
            SERVER_LABEL: "",
        }
        return self.start(f"{pod.metadata.name}_{name}_{len(runs)}", labels, output)

    def close(self) -> None:
        """Everything is in memory."""


class FakeWorld:
    """The fake for tests of the verbs."""

    def __init__(self, _lab: str, _root: Path) -> None:
        self.fake = FakeAccess(run=exit_code)
        self.access: HostAccess = self.fake

    def start_agent(self, host: str, log: str) -> None:
        self.fake.agents[host] = AgentState.RUNNING
        self.fake.logs[agent_name(host)] = log

    def stop_agent(self, host: str) -> None:
        self.fake.agents[host] = AgentState.STOPPED

    def kill_agent(self, host: str) -> None:
        self.fake.agents[host] = AgentState.DEAD

    def write_log(self, process: str, text: str) -> None:
        self.fake.logs[process] = text

    def start_container(self, pod: Pod, name: str, output: str) -> None:
        self.fake.outputs[pod.key, name] = output

    def close(self) -> None:
        """Everything is in memory."""


World = NetnsWorld | DockerWorld | FakeWorld


@contextmanager
def world_of(kind: str, lab: str, root: Path) -> Iterator[World]:
    """Yield the world of an implementation: netns, docker or fake."""
    kinds = {"netns": NetnsWorld, "docker": DockerWorld, "fake": FakeWorld}
    world = kinds[kind](lab, root)
    try:
        yield world
    finally:
        world.close()
