"""A pod never stops while the rules of a node lead to it, in whatever order things happen.

The model has what takes part, each with copies of its own that follow late: the API server (pods,
one slice), the controller that writes the slice from a snapshot of the pods, agents that program
the slice they have read and acknowledge it later, and the kubelet with its copies of slices and
Leases. Random steps move one of them on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import msgspec
import pytest
from fuzzing import cases, generator

from netlab.api.coordination import Lease
from netlab.api.discovery import EndpointSlice
from netlab.api.pods import Pod
from netlab.api.services import Service
from netlab.api.wellknown import SYNCED
from netlab.node.kubelet.drain import Sights, Withdrawal

SERVICE = msgspec.convert({"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "web"}}}, Service)
AGENTS, STEPS = 3, 120
NAMES = ("stays", "goes")  # one that is always ready, and one that is deleted


@dataclass
class Backend:
    """A pod as the API shows it."""

    labelled: bool = True
    ready: bool = False
    deleted: int = 0  # the resourceVersion of its deletion


@dataclass
class Agent:
    read: tuple[int, dict] = (0, {})  # the slice that its informer holds: version, and conditions by pod
    programmed: tuple[int, dict] = (0, {})
    acknowledged: int = 0


@dataclass
class Model:
    """The state of everything; each method is a step that one part takes."""

    version: int = 1
    pods: dict[str, Backend] = field(default_factory=lambda: {"stays": Backend(ready=True), "goes": Backend()})
    pods_version: int = 1
    slice: tuple[int, dict] = (0, {})
    snapshot: tuple[int, dict] = (0, {})  # what the controller has looked at: version of Pods, endpoints that follow
    followed: int = 0  # the version of Pods up to which the slice is written
    agents: list[Agent] = field(default_factory=lambda: [Agent() for _ in range(AGENTS)])
    kubelet: tuple[int, dict] = (0, {})
    leases: list[int] = field(default_factory=lambda: [0] * AGENTS)
    withdrawal: Withdrawal = field(default_factory=Withdrawal)

    def change(self, pod: Backend) -> None:
        """Something about the pod that may be deleted changes in the API."""
        self.version += 1
        self.pods_version = self.version
        if pod.deleted == -1:
            pod.deleted = self.version

    def becomes_ready(self) -> None:
        self.pods["goes"].ready ^= True
        self.change(self.pods["goes"])

    def label(self) -> None:
        self.pods["goes"].labelled ^= True
        self.change(self.pods["goes"])

    def delete(self) -> None:
        pod = self.pods["goes"]
        if not pod.deleted:
            pod.deleted = -1
            self.change(pod)

    def controller_looks(self) -> None:
        endpoints = {name: (pod.ready and not pod.deleted, bool(pod.deleted)) for name, pod in self.pods.items() if pod.labelled}
        if self.snapshot[0] == self.followed:  # one round at a time
            self.snapshot = (self.pods_version, endpoints)

    def controller_writes(self) -> None:
        if self.snapshot[0] != self.followed:
            if self.snapshot[1] != self.slice[1]:
                self.version += 1
                self.slice = (self.version, self.snapshot[1])
            self.followed = self.snapshot[0]

    def agent_reads(self, agent: Agent) -> None:
        agent.read = self.slice

    def agent_programs(self, agent: Agent) -> None:
        agent.programmed = agent.read

    def agent_acknowledges(self, agent: Agent) -> None:
        agent.acknowledged = agent.programmed[0]

    def kubelet_sees_slices(self) -> None:
        self.kubelet = self.slice

    def kubelet_sees_leases(self) -> None:
        self.leases = [agent.acknowledged for agent in self.agents]

    def is_complete(self) -> bool:
        """Ask the code under test; the kubelet has seen the deletion when it has seen the slices, or not."""
        pod = self.pods["goes"]
        labels = {"app": "web"} if pod.labelled else {}
        meta = {"name": "goes", "namespace": "default", "uid": "goes", "labels": labels, "resourceVersion": str(pod.deleted)}
        sights = Sights([SERVICE], [as_slice(*self.kubelet)], [as_lease(version) for version in self.leases])
        return self.withdrawal.is_complete(msgspec.convert({"metadata": meta}, Pod), self.slices_after, sights)

    def slices_after(self, pods: int) -> int | None:
        return self.slice[0] if self.followed >= pods else None

    def senders(self) -> list[int]:
        """Return the agents whose kernel sends new connections to the pod."""
        return [number for number, agent in enumerate(self.agents) if agent.programmed[1].get("goes", (False,))[0]]


def as_slice(version: int, endpoints: dict) -> EndpointSlice:
    body = {
        "metadata": {
            "name": "web-1",
            "namespace": "default",
            "resourceVersion": str(version),
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "endpoints": [
            {"addresses": ["10.244.1.2"], "conditions": {"ready": ready, "terminating": terminating}, "targetRef": {"uid": name}}
            for name, (ready, terminating) in endpoints.items()
        ],
    }
    return msgspec.convert(body, EndpointSlice)


def as_lease(version: int) -> Lease:
    return msgspec.convert({"metadata": {"annotations": {SYNCED: json.dumps({"endpointslices": str(version)})}}}, Lease)


@pytest.mark.fuzz
def test_no_order_of_events_stops_a_pod_too_early():
    """S8: whatever happens in whatever order, no node sends to a pod that is withdrawn, and it is withdrawn in the end."""
    withdrawn = 0
    for case in range(cases(400)):
        random, model = generator(case), Model()
        moves = [
            model.becomes_ready, model.becomes_ready, model.label, model.delete, model.controller_looks, model.controller_writes,
            model.kubelet_sees_slices, model.kubelet_sees_leases,
        ]  # fmt: skip
        moves += [
            lambda move=move, agent=agent: move(agent)
            for agent in model.agents
            for move in (model.agent_reads, model.agent_programs, model.agent_acknowledges)
        ]
        over = False
        for _ in range(STEPS):
            random.choice(moves)()
            over = over or bool(model.pods["goes"].deleted and model.is_complete())
            assert not (over and model.senders()), case
        withdrawn += over
        model.delete()
        settle(model)
        assert model.is_complete(), case
    assert withdrawn > 0


def settle(model: Model) -> None:
    """Let everything follow."""
    for _ in range(2):
        model.controller_looks()
        model.controller_writes()
    for agent in model.agents:
        model.agent_reads(agent)
        model.agent_programs(agent)
        model.agent_acknowledges(agent)
    model.kubelet_sees_slices()
    model.kubelet_sees_leases()
