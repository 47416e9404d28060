"""What is known of runs in containers, as values."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from netlab.api.meta import ObjectMeta
from netlab.api.pods import Container, Pod, PodSpec
from netlab.engine import protocol
from netlab.engine.protocol import OWNER_LABEL, ROLE_LABEL, Event
from netlab.errors import EngineError, UnsupportedHostError
from netlab.node.kubelet.pods import FINAL_WAITING
from netlab.node.pods.docker.containers import CONTAINER, NAME_LABEL, RUN_LABEL, SERVER_LABEL, key_of
from netlab.node.pods.docker.runs import AdoptedContainers, ContainerRun, start_failure
from netlab.node.pods.runtime import Began, Ended, Refused, Run, RunKey, Stop
from netlab.process.podfiles import PodFiles

KEY = RunKey("u", "c", 0)
TOOL = Container(name="c", image="busybox")
POD = Pod(metadata=ObjectMeta(name="p", uid="u"), spec=PodSpec(containers=(TOOL,)))
RUN = Run(POD, TOOL, 0, "/run/netns/p", "10.244.1.2", PodFiles(Path("/nowhere")))


def container(one: str = "1", *, number: int = 0, server: str = "") -> protocol.Container:
    marks = {ROLE_LABEL: CONTAINER, OWNER_LABEL: "u", NAME_LABEL: "c"}
    marks |= {RUN_LABEL: str(number), SERVER_LABEL: server}
    return protocol.Container(one, f"name{one}", "image", marks, "running", stop_signal="SIGINT")


BEGAN = Began(KEY, "docker://1", "image")


def test_events_do_not_depend_on_order():
    """Answer, report of the server, end, and end of an earlier attempt may come in any order."""
    steps = {
        "answer": lambda run: setattr(run, "container", container(server="nginx")),
        "listens": lambda run: setattr(run, "listens", True),
        "end": lambda run: run.ends.update({"1": 3}),
        "other end": lambda run: run.ends.update({"0": 1}),
    }
    for order in permutations(steps):
        run, events = ContainerRun(RUN), []
        for step in order:
            steps[step](run)
            if Ended(KEY, 3) not in events:
                events += run.due()
        assert events == [BEGAN, Ended(KEY, 3)], order


@pytest.mark.parametrize(
    ("server", "listens", "due"),
    [("", False, True), ("nginx", False, False), ("nginx", True, True)],
)
def test_server_begins_when_it_listens(server, listens, due):
    """A program has begun when its container has; each run begins once."""
    run = ContainerRun(RUN, container(server=server), listens=listens)

    assert (run.due(), run.due()) == ([BEGAN] if due else [], [])


@pytest.mark.parametrize(
    ("server", "began", "step", "signal"),
    [
        ("nginx", True, Stop.DRAIN, "SIGUSR1"),
        ("nginx", True, Stop.END, "SIGTERM"),
        ("nginx", False, Stop.END, ""),
        ("nginx", False, Stop.KILL, "SIGKILL"),
        ("", True, Stop.DRAIN, ""),
        ("", True, Stop.END, "SIGINT"),
        ("", True, Stop.KILL, "SIGKILL"),
        ("", False, Stop.END, ""),
        ("", True, None, ""),
    ],
)
def test_signal_of_a_step(server, began, step, signal):
    """A server has a signal for each step, a program its image's; before it began, KILL alone."""
    run = ContainerRun(RUN, container(server=server), began=began, step=step)
    ended = ContainerRun(RUN, container(server=server), began=began, step=step, ends={"1": 0})

    assert (run.signal(), ended.signal(), ContainerRun(RUN, step=step).signal()) == (signal, "", "")


@pytest.mark.parametrize("first", [0, 1])
def test_newest_adopted_container_counts(first):
    """Of two containers of a place the older is returned for removal; the same one again is not."""
    adopted = AdoptedContainers()
    both = [container("old", number=0), container("new", number=1)]
    left = adopted.add(both[first]) + adopted.add(both[1 - first]) + adopted.add(both[1])

    assert left == ["old"]
    assert adopted.get(KEY.place) == both[1]


@pytest.mark.parametrize(
    ("event", "mine", "state"),
    [
        (Event("die", "1", labels=container().labels, exit_code=9), True, ("exited", 9)),
        (Event("start", "1", labels=container().labels), True, ("running", 0)),
        (Event("destroy", "1", labels=container().labels), True, None),
        (Event("die", "2", labels=container().labels, exit_code=9), False, ("running", 0)),
    ],
    ids=["dies", "starts", "is removed", "another's"],
)
def test_events_change_adopted_containers(event, mine, state):
    """What happens to a container before its run is asked for is known when it is."""
    adopted = AdoptedContainers()
    adopted.add(container())
    handled, found = adopted.handle(event), adopted.take(KEY.place)

    assert handled is mine
    assert (found and (found.state, found.exit_code)) == state


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EngineError("No command specified", code=400), "CreateContainerError"),
        (EngineError("unable to find user nosuch", code=500), "CreateContainerError"),
        (EngineError("cannot join network of a container", code=409), "RunContainerError"),
        (EngineError("the pod's sandbox has ended"), "RunContainerError"),
        (UnsupportedHostError("cannot connect to /run/engine"), "RunContainerError"),
        (TypeError("unexpected"), "CreateContainerError"),
    ],
)
def test_final_refusals_differ_from_passing_ones(error, reason):
    """`up` waits for what passes by itself, and for nothing else."""
    event = start_failure(KEY, error)

    assert isinstance(event, Refused)
    assert event.reason == reason
    assert (reason in FINAL_WAITING) is (reason == "CreateContainerError")


def test_program_that_is_not_there_ends_with_128():
    """The engine makes the container and cannot run its program: the code is Kubernetes'."""
    error = EngineError("OCI runtime create failed: no such file", code=400)

    assert start_failure(KEY, error) == Ended(KEY, 128, error.message)


@pytest.mark.parametrize("number", ["", "x", "9" * 5000, "\u00b2"])
def test_invalid_labels_are_no_run(number):
    """A container with a lab's label and nonsense for the rest does not stop the kubelet."""
    assert key_of({RUN_LABEL: number} if number else {}) == RunKey("", "", -1)
