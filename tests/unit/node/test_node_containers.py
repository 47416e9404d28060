from __future__ import annotations

import msgspec
import pytest

from netlab.api.pods import Container, Pod, Probe
from netlab.node.kubelet.restore import restored
from netlab.node.kubelet.status import PodView, pod_status, status_body
from netlab.node.pods import containers, readiness
from netlab.node.pods.containers import ContainerRecord, Phase
from netlab.node.pods.readiness import NO_PROBE, NOT_PROBED, Readiness, Result

OK, BAD = Result(success=True), Result(success=False, message="refused")


@pytest.mark.parametrize(
    ("results", "thresholds", "ready", "settled"),
    [
        ([], (1, 3), False, False),
        ([OK], (1, 3), True, True),
        ([OK], (2, 3), False, False),
        ([OK, OK], (2, 3), True, True),
        ([OK, BAD, OK], (2, 3), False, False),
        ([BAD], (1, 3), False, False),
        ([BAD, BAD, BAD], (1, 3), False, True),
        ([OK, BAD, BAD], (1, 3), True, True),
        ([OK, BAD, BAD, BAD], (1, 3), False, True),
        ([OK, BAD, BAD, OK, BAD], (1, 3), True, True),
        ([BAD, BAD, BAD, OK], (1, 3), True, True),
    ],
)
def test_thresholds(results, thresholds, ready, settled):
    """Only so many results in a row change readiness."""
    probe = Probe(success_threshold=thresholds[0], failure_threshold=thresholds[1])
    state = NOT_PROBED
    for result in results:
        state = readiness.observe(state, result, probe)

    assert (state.ready, state.settled) == (ready, settled)


@pytest.mark.parametrize(("last", "expected"), [(None, 105.0), (105.0, 115.0)])
def test_probe_times(last, expected):
    """The first probe waits initialDelaySeconds, later ones periodSeconds."""
    result = readiness.next_time(Probe(initial_delay_seconds=5, period_seconds=10), 100.0, last)

    assert result == expected


@pytest.mark.parametrize(
    ("policy", "codes", "waits"),
    [
        ("Always", [1, 1, 1, 1, 1, 1, 1, 1], [0, 10, 20, 40, 80, 160, 300, 300]),
        ("Always", [0, 0], [0, 10]),
        ("OnFailure", [1, 0], [0, None]),
        ("Never", [1], [None]),
    ],
)
def test_back_off(policy, codes, waits):
    """The first restart is immediate, then 10 s doubling to 300 s; the policy may forbid any (None)."""
    record, now, seen = ContainerRecord(), 1000.0, []
    for code in codes:
        record = containers.started(record, now=now, readiness=NO_PROBE)
        record = containers.ended(record, code=code, now=now, policy=policy, pod="p", name="c")
        seen.append(None if record.phase is Phase.TERMINATED else record.due - now)
        now = record.due

    assert seen == waits


def test_calm_run_forgets_the_back_off():
    """After ten minutes without an end the next restart is immediate again."""
    record = ContainerRecord(phase=Phase.RUNNING, started=0.0, runs=5, back_off=160.0)

    result = containers.ended(record, code=1, now=600.0, policy="Always", pod="p", name="c")

    assert (result.due, result.back_off) == (600.0, 10.0)


@pytest.mark.parametrize(
    ("story", "last"),
    [
        ("p", ("ErrImagePull", 10.0)),
        ("pp", ("ImagePullBackOff", 20.0)),
        ("ppp", ("ImagePullBackOff", 40.0)),
        ("pppppp", ("ImagePullBackOff", 300.0)),
        ("ppsp", ("ErrImagePull", 10.0)),
    ],
)
def test_an_image_is_pulled_again_ever_later(story, last):
    """A pull that fails is repeated after 10 s, doubling to 300 s; a start in between (s) makes the next failure the first."""
    record = ContainerRecord()
    for step in story:
        if step == "s":
            record = containers.started(record, now=0.0, readiness=NO_PROBE)
        else:
            record = containers.refused(record, Container(name="a", image="x"), "ErrImagePull", "no such image", now=0.0)

    assert last == (record.reason, record.due)


POD = msgspec.convert(
    {"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}, Pod
)
RUN = ContainerRecord(phase=Phase.RUNNING, reason="", started=10, runs=1, readiness=NO_PROBE)
UNREADY = ContainerRecord(phase=Phase.RUNNING, reason="", started=10, runs=1, readiness=Readiness())
DONE = containers.ended(RUN, code=0, now=20, policy="Never", pod="p", name="a")
BROKEN = containers.ended(RUN, code=3, now=20, policy="Never", pod="p", name="a")
KILLED = containers.ended(RUN, code=137, now=20, policy="Always", pod="p", name="a")


@pytest.mark.parametrize(
    ("a", "b", "phase", "ready", "message"),
    [
        (ContainerRecord(), ContainerRecord(), "Pending", "False", "containers with unready status: [a b]"),
        (RUN, ContainerRecord(), "Pending", "False", "containers with unready status: [b]"),
        (RUN, RUN, "Running", "True", ""),
        (RUN, UNREADY, "Running", "False", "containers with unready status: [b]"),
        (DONE, RUN, "Running", "False", "containers with unready status: [a]"),
        (DONE, DONE, "Succeeded", "False", ""),
        (DONE, BROKEN, "Failed", "False", ""),
        (KILLED, RUN, "Running", "False", "containers with unready status: [a]"),
    ],
)
def test_pod_status(a, b, phase, ready, message):
    """Phase and Ready follow from the containers; init containers and probes have their say."""
    status = pod_status(POD, PodView("10.244.1.2", "172.30.1.1", sandbox_ready=True, records={"a": a, "b": b}), 100.0)
    condition = next(c for c in status.conditions if c.type == "Ready")

    assert (status.phase, condition.status, condition.message) == (phase, ready, message)


@pytest.mark.parametrize(("record", "ready"), [(RUN, False), (DONE, True), (BROKEN, False)], ids=["runs", "completed", "failed"])
def test_an_init_container_is_ready_when_it_has_completed(record, ready):
    """Ready is what it has done, not what it does."""
    assert ready == containers.status(Container(name="a"), record, "u", init=True).ready


def test_a_new_sandbox_forgets_what_was_before():
    """A container that waits starts at once in a new sandbox, and its next end is its first."""
    fresh = containers.afresh(containers.ended(KILLED, code=1, now=21, policy="Always", pod="p", name="a"))

    assert (0.0, 0.0, "ContainerCreating") == (fresh.due, fresh.back_off, fresh.reason)


INIT = msgspec.convert({"spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}}, Pod)


def test_an_init_container_that_failed():
    """The pod has failed with it, and says so; what is false or 0 in a container's status is shown."""
    status = pod_status(INIT, PodView(records={"i": BROKEN}), 100.0)
    main = status_body(status)["containerStatuses"][0]

    assert ("Failed", "PodFailed") == (status.phase, next(c.reason for c in status.conditions if c.type == "Ready"))
    assert (False, 0, {}) == (main["ready"], main["restartCount"], main["lastState"])


AGAIN = containers.started(KILLED, now=30, readiness=NO_PROBE)


@pytest.mark.parametrize(
    ("record", "state", "last"),
    [(KILLED, "waiting", (137, 9)), (AGAIN, "running", (137, 9)), (BROKEN, "terminated", None)],
    ids=["waits", "runs again", "done"],
)
def test_the_last_state(record, state, last):
    """What ended before is told with its signal and the identity of its run, also when the next run has begun."""
    shown = containers.status(Container(name="a"), record, "u")
    before = shown.last_state.get("terminated", {})

    assert [state] == list(shown.state)
    assert last == ((before["exitCode"], before["signal"]) if before else None)
    assert before.get("containerID", shown.container_id) == containers.container_id("u", "a", 1)


@pytest.mark.parametrize("record", [RUN, UNREADY, DONE, BROKEN, KILLED], ids=["run", "unready", "done", "broken", "killed"])
def test_status_survives_the_daemon(record):
    """A new daemon reads from the status what the old one knew."""
    pod = msgspec.structs.replace(POD, status=pod_status(POD, PodView(records={"a": record}), 100.0))
    stored = msgspec.convert({"status": status_body(pod.status)}, Pod)
    again = restored(stored, Container(name="a"))

    assert again is not None
    assert (again.phase, again.restarts, again.runs) == (record.phase, record.restarts, record.runs)
    assert (again.end and again.end.code) == (record.end and record.end.code)


def test_conditions_keep_their_transition_time():
    """LastTransitionTime moves only when the status does."""
    view = PodView(records={"a": RUN, "b": UNREADY})
    first = pod_status(POD, view, 100.0)
    later = pod_status(msgspec.structs.replace(POD, status=first), PodView(records={"a": RUN, "b": RUN}), 200.0)
    times = {c.type: c.last_transition_time for c in later.conditions}

    assert (times["Initialized"], times["Ready"]) == ("1970-01-01T00:01:40Z", "1970-01-01T00:03:20Z")
