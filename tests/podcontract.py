"""What every pod runtime promises the kubelet: the same cases for processes, containers, the fake.

A test module makes a class of `PodContract` and the fixture `world`: a `PodWorld` whose daemon has
been started.
"""

from __future__ import annotations

import pytest
from podworlds import KNOWN, SERVER, UID, UNAVAILABLE, PodWorld

from netlab.api.pods import Container
from netlab.node.pods.readiness import Result
from netlab.node.pods.runtime import Ended, RunKey, Stop


def failure(message: str) -> Result:
    return Result(success=False, message=message)


WEB, TOOL = RunKey(UID, "web", 0), RunKey(UID, "tool", 0)


class PodContract:
    """The cases. What waits, waits for an event."""

    def container(self, world: PodWorld, name: str) -> Container:
        return SERVER if name == "web" else world.program

    async def test_namespace_is_made_once(self, world):
        """A namespace that is missing is made; once it exists, nothing is missing."""
        await world.make_namespace()

        assert world.pods.make_namespaces({world.path: world.pod}) == {}

    @pytest.mark.parametrize("name", ["web", "tool"])
    async def test_run_begins_after_its_round(self, world, name):
        """`start` alone begins nothing; after `carry_out` there is one `Began`."""
        await world.make_namespace()
        run = world.run(self.container(world, name))
        world.pods.start(run)
        before = world.about(run.key)
        await world.pods.carry_out(["node1"])
        await world.until(lambda: world.about(run.key))

        assert (before, world.about(run.key)) == ([], ["Began"])

    async def test_only_builtin_workload_serves_on(self, world):
        """A built-in workload serves until no rule leads to its pod; a program ends at once."""
        assert world.pods.serves_on(UID, SERVER)
        assert not world.pods.serves_on(UID, world.program)

    async def test_end_has_exit_code_and_log(self, world):
        """A program that ends by itself is one `Ended` with its code, and its log can be read."""
        await world.make_namespace()
        key = await world.begin(world.program)
        await world.finish(key)

        assert await world.ended(key) == 3
        assert await world.log(key) == "hello\n"

    async def test_killed_program_ends_with_137(self, world):
        """A program that somebody kills has ended with 128 + 9."""
        await world.make_namespace()
        key = await world.begin(world.program)
        world.kill(key)

        assert await world.ended(key) == 137

    async def test_restart_is_another_run(self, world):
        """A container that ended starts as the next run, whose events have the next number."""
        await world.make_namespace()
        first = await world.begin(world.program)
        world.kill(first)
        await world.ended(first)
        second = await world.begin(world.program, 1)
        world.kill(second)
        await world.ended(second)

        assert (world.about(first), world.about(second)) == (["Began", "Ended"], ["Began", "Ended"])

    @pytest.mark.parametrize(("step", "code"), [(Stop.END, 143), (Stop.KILL, 137)])
    async def test_stop_ends_program(self, world, step, code):
        """A program does not drain; END is SIGTERM, KILL is SIGKILL."""
        await world.make_namespace()
        key = await world.begin(world.program)
        world.pods.stop(key, Stop.DRAIN)
        await world.pods.carry_out(["node1"])
        drained = world.process(key)
        world.pods.stop(key, step)
        await world.pods.carry_out(["node1"])

        assert drained is not None
        assert await world.ended(key) == code

    @pytest.mark.parametrize("step", [Stop.END, Stop.KILL])
    async def test_stop_ends_server(self, world, step):
        """A built-in workload without clients ends with either step, also after a drain."""
        await world.make_namespace()
        key = await world.begin(SERVER)
        for ask in (Stop.DRAIN, step):
            world.pods.stop(key, ask)
            await world.pods.carry_out(["node1"])

        assert await world.ended(key) is not None

    @pytest.mark.parametrize("name", ["web", "tool"])
    async def test_stop_before_begin_is_refused(self, world, name):
        """A run that was asked for in this round does not begin when it is stopped in the same."""
        await world.make_namespace()
        run = world.run(self.container(world, name))
        world.pods.start(run)
        world.pods.stop(run.key, Stop.KILL)
        await world.pods.carry_out(["node1"])

        assert world.about(run.key) == ["Refused"]

    @pytest.mark.parametrize("name", ["web", "tool"])
    async def test_unknown_run_is_over_when_killed(self, world, name):
        """A run that does not exist has no exit code; the container's present run goes on."""
        await world.make_namespace()
        present = await world.begin(self.container(world, name))
        other = present._replace(number=7)
        world.pods.stop(other, Stop.END)
        world.pods.stop(other, Stop.KILL)
        await world.pods.carry_out(["node1"])
        await world.until(lambda: Ended(other, None) in world.events)
        world.pods.stop(present, Stop.KILL)
        await world.ended(present)

        assert (world.about(other), world.about(present)) == (["Ended"], ["Began", "Ended"])

    async def test_unavailable_image_refuses_run(self, world):
        """A container without an image is refused with Kubernetes' reason."""
        await world.make_namespace()
        await world.begin(UNAVAILABLE)

        (refused,) = world.refusals()
        assert (refused.key, refused.reason) == (TOOL, "ErrImageNeverPull")

    @pytest.mark.parametrize(
        ("argv", "limit", "result"),
        [
            (("true",), 30.0, Result(success=True)),
            (("false",), 30.0, failure("exit code 1")),
            (("sh", "-c", "echo broken; exit 3"), 30.0, failure("broken")),
            (("sleep", "60"), 1.0, failure("command 'sleep' timed out after 1s")),
        ],
        ids=["succeeds", "fails", "says why", "takes too long"],
    )
    async def test_probe_runs_command(self, world, argv, limit, result):
        """Exit code 0 is success; a failure has what the command wrote last, or its code."""
        await world.make_namespace()
        await world.begin(world.program)

        assert await world.pods.probe(world.run(world.program), argv, limit) == result

    async def test_new_daemon_takes_over_what_runs(self, world):
        """A run that goes on without a daemon is the next one's: same process, its end reported."""
        await world.make_namespace()
        web, tool = await world.begin(SERVER), await world.begin(world.program)
        before = world.process(tool)
        await world.crash()
        await world.start()
        await world.make_namespace()
        taken = [world.pods.take_over(world.run(one)) for one in (SERVER, world.program)]
        after = world.process(tool)
        for key in (web, tool):
            world.pods.stop(key, Stop.KILL)
            await world.ended(key)

        assert taken == [None, None]
        assert before == after
        assert [world.about(key) for key in (web, tool)] == [["Ended"], ["Ended"]]

    async def test_new_daemon_learns_of_end(self, world):
        """A run that ended without a daemon is over, with its code if the runtime knows it."""
        await world.make_namespace()
        key = await world.begin(world.program)
        await world.crash()
        await world.finish(key)
        while world.process(key):  # there is no daemon to report it
            await world.pause()
        await world.start()
        await world.make_namespace()
        end = world.pods.take_over(world.run(world.program))

        assert end is not None
        assert end.code in {3, None}

    async def test_unknown_run_is_over_when_taken_over(self, world):
        """A run of which nothing is left has ended with an unknown code, and a reason."""
        await world.make_namespace()
        end = world.pods.take_over(world.run(world.program))

        assert end is not None
        assert (end.key, end.code) == (TOOL, None)
        assert end.message

    async def test_start_adopts_unrecorded_run(self, world):
        """A daemon that died before it wrote a status left a run: `start` makes no second one."""
        await world.make_namespace()
        key = await world.begin(world.program)
        before = world.process(key)
        await world.crash()
        await world.start()
        await world.make_namespace()
        await world.begin(world.program)

        assert world.about(key) == ["Began"]
        assert world.process(key) == before is not None

    async def test_recall_removes_unknown_pods(self, world):
        """What runs for a pod that left the API while there was no daemon is ended."""
        await world.make_namespace()
        key = await world.begin(world.program)
        await world.crash()
        await world.start(known=frozenset())

        assert world.process(key) is None

    async def test_recall_can_be_repeated(self, world):
        """The kubelet asks again when an attempt failed: nothing that is known is lost."""
        await world.make_namespace()
        key = await world.begin(world.program)
        await world.crash()
        await world.start()
        await world.pods.recall(KNOWN)
        await world.make_namespace()

        assert world.pods.take_over(world.run(world.program)) is None
        assert world.process(key) is not None

    async def test_release_ends_everything(self, world):
        """What runs of a released pod ends; what was asked for in this round does not begin."""
        await world.make_namespace()
        key = await world.begin(world.program)
        world.pods.start(world.run(SERVER))
        world.pods.release(UID)
        await world.pods.carry_out(["node1"])
        await world.until(lambda: not world.pods.holds(UID) and world.process(key) is None)

        assert world.about(WEB) == []

    async def test_look_again_settles(self, world):
        """After a look at everything the runtime is settled again, and what runs goes on."""
        await world.make_namespace()
        key = await world.begin(world.program)
        world.pods.look_again()
        await world.until(lambda: world.pods.settled() == [])

        assert world.about(key) == ["Began"]
        assert world.process(key) is not None
