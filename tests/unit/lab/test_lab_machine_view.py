"""What `status` sees on the machine that the API server does not know yet."""

from __future__ import annotations

import os
import time

import pytest

from netlab.api.coordination import Lease, LeaseSpec
from netlab.api.meta import ObjectMeta
from netlab.api.pods import Pod, PodSpec
from netlab.api.times import timestamp_of
from netlab.kernel.door import Occupant
from netlab.lab import machine_view
from netlab.lab.access.fake import FakeAccess
from netlab.lab.access.interface import AgentState
from netlab.lab.machine_view import MachineView, lease_problem


@pytest.fixture
def look(monkeypatch):
    """Return the view of a lab whose hosts have an agent and a namespace, for a user."""
    there = {"/run/netns/demo-node1", "/run/netns/demo-edge", "/run/netns/demo-default-web"}

    def see(*, agent=AgentState.RUNNING, gone="", user=0):
        found = there - {f"/run/netns/{gone}"}
        monkeypatch.setattr(
            machine_view.namespaces, "occupant", lambda path: Occupant.NAMESPACE if path in found else Occupant.NOTHING
        )
        monkeypatch.setattr(os, "geteuid", lambda: user)
        return MachineView("demo", FakeAccess(agents={"node1": agent, "edge": agent}))

    return see


@pytest.mark.parametrize("agent", [AgentState.RUNNING, AgentState.UNKNOWN])
def test_all_is_well(look, agent):
    """A host with a namespace is up if its agent runs, or if only the engine has its state."""
    assert ["", ""] == [look(agent=agent).host_problem(host) for host in ("node1", "edge")]


def test_a_namespace_that_is_gone(look):
    """A host without namespace is not up; of an ordinary user's lab the namespaces cannot be seen from here."""
    assert "namespace does not exist" in look(gone="demo-node1").host_problem("node1")
    assert "" == look(gone="demo-node1", user=1000).host_problem("node1")
    unknown = look(gone="demo-edge", agent=AgentState.UNKNOWN)
    assert "namespace does not exist" in unknown.host_problem("edge")


def test_an_agent_that_is_stopped(look):
    """A stopped agent keeps no rules: its node is not up, although its Lease is still valid."""
    assert "its agent is stopped" in look(agent=AgentState.STOPPED).host_problem("node1")


def test_an_agent_that_is_dead(look):
    """An agent that does not run is named with the log to look into."""
    dead = look(agent=AgentState.DEAD)

    assert "netlab logs agent-node1" in dead.host_problem("node1")
    assert "netlab logs edge" in dead.host_problem("edge")
    assert "its network namespace does not exist" in dead.host_problem("node2")


@pytest.mark.parametrize(("gone", "host_network", "there"), [("", False, True), ("web", False, False), ("web", True, True)])
def test_pods(look, gone, host_network, there):
    """A pod whose namespace is gone does not run; one of the host network has none of its own."""
    pod = Pod(metadata=ObjectMeta(name="web", namespace="default"), spec=PodSpec(host_network=host_network))

    assert there == look(gone=f"demo-default-{gone}").has_sandbox(pod)


@pytest.mark.parametrize(("age", "problem"), [(0, ""), (39, ""), (45, "has not reported for 4"), (-3600, "")])
def test_leases(age, problem):
    """A Lease is valid for 40 seconds; a clock that was set back since it was renewed makes nobody silent."""
    lease = Lease(spec=LeaseSpec(lease_duration_seconds=40, renew_time=timestamp_of(time.time() - age)))

    assert problem in lease_problem(lease)
    assert bool(problem) == bool(lease_problem(lease))
    assert "" == lease_problem(None)
