from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from netlab.api.meta import ObjectMeta
from netlab.api.pods import Container, Pod, PodSpec
from netlab.kernel.fake import FakeKernel
from netlab.node.kubelet.convergence import note, unsettled
from netlab.node.kubelet.pods import PodWorker, Tools
from netlab.node.pods import containers
from netlab.node.pods.containers import Phase
from netlab.node.pods.fake import FakePodRuntime
from netlab.node.pods.runtime import Began, Ended, Refused, RunKey, Stop
from netlab.process.podfiles import ConfigError, Sources, UnusableValueError
from netlab.state import StateDirectory

SERVER, COMMAND = Container(name="web", image="nginx"), Container(name="tool", image="x", command=("sleep", "1"))
WEB, FIRST, SECOND = RunKey("u", "web", 0), RunKey("u", "tool", 0), RunKey("u", "tool", 1)


@pytest.fixture
def runtime():
    return FakePodRuntime(FakeKernel())


@pytest.fixture
async def worker(tmp_path, runtime):
    surroundings = SimpleNamespace(
        files=lambda _pod, _address: {"hostname": "p\n"},
        sources=lambda _pod, _address: Sources(),
        host_ip=lambda _pod: "172.30.1.1",
        is_node_lost=lambda _pod: False,
        is_withdrawn=lambda _pod, _withdrawal: False,
    )
    pod = Pod(metadata=ObjectMeta(name="p", namespace="default", uid="u"), spec=PodSpec(containers=(SERVER, COMMAND)))
    state = StateDirectory("lab", tmp_path)
    worker = PodWorker(pod, Tools(None, runtime, state, surroundings), "/run/netns/p", "/run/netns/n", lambda _uid: None)
    worker.files.folder.mkdir(parents=True)
    runtime.subscribe(worker.hear)
    return worker


async def begun(worker: PodWorker) -> PodWorker:
    worker.stand("10.244.1.2")
    worker.advance()
    await worker.tools.runtime.carry_out(["node1"])
    return worker


def deleted(worker: PodWorker, grace: int) -> None:
    meta = ObjectMeta(name="p", uid="u", deletion_timestamp="2026-01-01T00:00:00Z", deletion_grace_period_seconds=grace)
    worker.pod = Pod(metadata=meta, spec=worker.pod.spec)


@pytest.mark.parametrize(
    ("news", "phase", "runs", "restarts"),
    [
        ([], Phase.WAITING, 0, 0),
        ([Began(FIRST)], Phase.RUNNING, 1, 0),
        ([Began(SECOND)], Phase.WAITING, 0, 0),
        ([Ended(FIRST, 3)], Phase.WAITING, 1, 0),
        ([Ended(FIRST, 3), Began(FIRST)], Phase.WAITING, 1, 0),
        ([Began(FIRST), Ended(SECOND, 3)], Phase.RUNNING, 1, 0),
        ([Refused(FIRST, "ErrImagePull", "no such image")], Phase.WAITING, 0, 0),
        ([Began(FIRST), Refused(FIRST, "ErrImagePull", "late")], Phase.RUNNING, 1, 0),
    ],
)
async def test_news_change_the_run_they_are_about(worker, news, phase, runs, restarts):
    """News of the run asked for or present count, in any order; news of another run are old."""
    worker.stand("10.244.1.2")
    worker.advance()
    for item in news:
        worker.hear(item)
    record = worker.records.get("tool")

    assert (phase, runs, restarts) == ((record.phase, record.runs, record.restarts) if record else (Phase.WAITING, 0, 0))


async def test_nothing_starts_without_a_sandbox_and_each_run_once(worker, runtime):
    """Containers are asked for when the sandbox stands, once until there is news of them."""
    worker.advance()
    before = list(runtime.started)
    worker.stand("10.244.1.2")
    worker.advance()
    worker.advance()

    assert (before, runtime.started) == ([], [WEB, FIRST])


async def test_a_restart_is_the_next_run(worker, runtime):
    """A container that ended begins again as another run; its end is remembered with its identity."""
    await begun(worker)
    runtime.end(FIRST, 0)
    worker.advance()
    end = worker.records["tool"].end

    assert runtime.started[-1] == SECOND
    assert (end.code, end.identity) == (0, "fake://u/tool/0")


async def test_stopping_climbs_a_ladder_and_repeats_no_step(worker, runtime):
    """A server drains while rules lead to it, a command ends at once; grace over, both are killed."""
    runtime.ignores_term = {"tool", "web"}
    deleted(await begun(worker), 30)
    worker.advance()
    worker.advance()
    first = list(runtime.stopped)
    worker.tools.surroundings.is_withdrawn = lambda _pod, _withdrawal: True
    worker.advance()
    worker.deadline = time.time()
    worker.advance()

    assert set(first) == {(FIRST, Stop.END), (WEB, Stop.DRAIN)}
    assert sorted(runtime.stopped[2:]) == [(FIRST, Stop.KILL), (WEB, Stop.END), (WEB, Stop.KILL)]
    assert worker.stopped


async def test_a_pod_is_gone_when_the_runtime_lets_go(worker, runtime):
    """After its release a pod stays until nothing of it is left."""
    runtime.kept = {"u"}
    (await begun(worker)).release()
    held = worker.gone
    runtime.kept = set()

    assert (held, worker.gone) == (False, True)


async def test_a_new_sandbox_takes_over_what_runs(worker, runtime):
    """When the sandbox is back, runs that are over end with the code that the runtime knows."""
    (await begun(worker)).stands = False
    runtime.subscribe(lambda _event: None)  # the event of the end is lost
    runtime.end(FIRST, 7)
    worker.stand("10.244.1.2")

    assert (worker.records["web"].phase, worker.records["tool"].end.code) == (Phase.RUNNING, 7)


async def test_a_fresh_sandbox_ends_what_runs_in_the_old_one(worker, runtime):
    """Nothing can run in a namespace that was just made: what runs is ended, and its end starts it again (S4)."""
    await begun(worker)
    worker.stand("10.244.1.2", fresh=True)

    assert {(FIRST, Stop.KILL), (WEB, Stop.KILL)} == set(runtime.stopped)
    assert {(Phase.WAITING, 137)} == {(record.phase, record.end.code) for record in worker.records.values()}


async def test_files_that_were_deleted_come_back(worker):
    """A look writes a file that is missing, and leaves what a container wrote into one that is there."""
    await begun(worker)
    hostname = worker.files.etc / "hostname"
    hostname.write_text("changed\n")
    worker.restore_files()
    kept = hostname.read_text()
    hostname.unlink()
    worker.restore_files()

    assert ("changed\n", "p\n") == (kept, hostname.read_text())


async def test_a_new_sandbox_forgets_the_back_off(worker, runtime):
    """What ended with its sandbox has not crashed: it is waited for, and starts at once when there is a new one."""
    await begun(worker)
    for key in (FIRST, SECOND):  # the engine ends, and takes the next run along
        runtime.end(key, 137)
        worker.advance()
        await runtime.carry_out(["node1"])
    before = worker.records["tool"].reason
    worker.stands = False
    bound = replace(worker.pod, spec=replace(worker.pod.spec, node_name="node1"))
    waits = unsettled(bound, worker)
    worker.stand("10.244.1.2")
    worker.advance()

    assert (before, waits) == ("CrashLoopBackOff", "Pod default/p is waiting for its network.")
    assert (runtime.started[-1].number, unsettled(bound, worker)) == (2, "Pod default/p: container tool is being started.")


async def test_a_container_that_never_can_be_is_a_note(worker):
    """`up` does not wait for it, and tells the engine's words and the remedy in one line."""
    bound = replace(worker.pod, spec=replace(worker.pod.spec, node_name="node1"))
    worker.stand("10.244.1.2")
    worker.advance()
    worker.hear(Refused(FIRST, "CreateContainerError", "could not start: No command specified\nGive it a `command`."))

    assert unsettled(bound, worker) == ""
    assert note(bound, worker) == (
        "Pod default/p: container tool: CreateContainerError: could not start: No command specified. Give it a `command`."
    )


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (ConfigError("no such Secret"), "CreateContainerConfigError", "no such Secret"),
        (UnusableValueError("not UTF-8"), "CreateContainerError", "not UTF-8"),
        (OSError(28, "No space left on device"), "RunContainerError", "[Errno 28] No space left on device"),
        (
            AttributeError("'int' has no 'get'"),
            "CreateContainerConfigError",
            "internal error: AttributeError: 'int' has no 'get'",
        ),
    ],
)
async def test_whatever_keeps_a_container_from_starting_is_its_own(worker, runtime, error, reason, message):
    """An exception in the making of a container is that container's reason and message; it is tried again when due."""
    surroundings = worker.tools.surroundings
    good, surroundings.sources = surroundings.sources, lambda _pod, _address: (_ for _ in ()).throw(error)
    worker.stand("10.244.1.2")
    worker.advance()
    refused = worker.records["web"]
    surroundings.sources = good
    worker.retry_configuration()
    worker.records = {name: containers.due_now(record) for name, record in worker.records.items()}
    worker.advance()

    assert (refused.phase, refused.reason, refused.message) == (Phase.WAITING, reason, message)
    assert [key.container for key in runtime.started] == ["web", "tool"]
