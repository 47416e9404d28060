"""What `up` says it waits for in a pod."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from netlab.api.resources import PODS
from netlab.node.kubelet.convergence import unsettled
from netlab.node.pods.containers import ContainerRecord, Phase, Termination

POD = PODS.decode(
    {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"nodeName": "node1", "initContainers": [{"name": "wait"}, {"name": "load"}], "containers": [{"name": "c"}]},
    }
)
DONE = ContainerRecord(Phase.TERMINATED, end=Termination(0, 0.0, 0.0), runs=1)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ({}, "init container wait is being started (Init:0/2)"),
        ({"wait": ContainerRecord(Phase.RUNNING)}, "init container wait runs (Init:0/2)"),
        ({"wait": DONE, "load": ContainerRecord(Phase.RUNNING)}, "init container load runs (Init:1/2)"),
        ({"wait": DONE, "load": DONE}, "container c is being started"),
    ],
)
def test_init_container_that_runs_is_named(records, words):
    """A pod that waits in an init container says which, and not the container behind it."""
    worker = SimpleNamespace(stands=True, problem="", records=records, status_pending=False)

    assert words in unsettled(POD, worker)
