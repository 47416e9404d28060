"""The sockets between a lab's processes are found however long the names of labs and nodes are."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import msgspec
import pytest
from node_waiting import soon

from netlab.files import socket_address
from netlab.kernel import namespaces
from netlab.node.pods.link import ReadySocket, WorkloadsLink
from netlab.node.pods.runtime import RunKey
from netlab.state import StateDirectory
from netlab.workloads import program
from netlab.workloads.protocol import ServerSpec, ServerStatus
from netlab.workloads.serving import bound

NODE = 63 * "n"


@pytest.fixture(params=[1, 40, 200], ids=lambda length: f"{length} characters")
def state(request, tmp_path) -> StateDirectory:
    """The record of a lab whose name is so long."""
    made = StateDirectory("lab", tmp_path / (request.param * "l"))
    made.create()
    return made


class Maker:
    """Makes sockets in this process, as `SocketMaker` does in a child; it does not end."""

    def __init__(self) -> None:
        self._ends = os.pipe()

    def fileno(self) -> int:
        return self._ends[0]

    def __call__(self, path: str, protocol: str, port: int) -> socket.socket:
        with namespaces.inside(path):
            return bound(path, protocol, port)

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


@pytest.fixture
def maker():
    made = Maker()
    yield made
    made.close()


async def test_workloads(state, tmp_path, maker):
    """The kubelet finds the workloads process of a node."""
    path, reports = state.socket(program.socket_name(NODE)), []
    serving = asyncio.create_task(program._serve(path, maker))
    link = WorkloadsLink(path, reports.append)
    link.want([ServerSpec(key="u/c", pod="p", path="/proc/self/ns/net", server="pause", log=str(tmp_path / "log"))])
    talking = asyncio.create_task(link.run())
    await soon(lambda: reports or serving.done() or talking.done())
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)

    assert [["u/c"]] == [[status.key for status in report.servers] for report in reports[:1]]


async def test_ready(state):
    """A workload in a container is heard."""
    heard: list[RunKey] = []
    ready = ReadySocket(state, heard.append)
    await ready.open()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as workload, socket_address(ready.path) as address:
        workload.sendto(msgspec.json.encode(ServerStatus(key="u/c", run=3)), address)
        await soon(lambda: heard)
    ready.close()

    assert [RunKey("u", "c", 3)] == heard


async def test_a_link_is_given_up_at_any_moment(state):
    """Who stops talking to a process that hangs up again and again is not held up by it, whatever was just going on."""
    with socket_address(state.socket("x")) as address:
        server = await asyncio.start_unix_server(lambda _, writer: writer.close(), address)
        left = []
        for turns in range(40):
            talking = asyncio.create_task(WorkloadsLink(state.socket("x"), left.append).run())
            for _ in range(turns):
                await asyncio.sleep(0)
            talking.cancel()
            left += (await asyncio.wait([talking], timeout=5))[1]
        server.close()

    assert [] == left


# ---- one server that breaks is not the others' affair (findings B3, M6)
def spec(key: str, folder, **more) -> ServerSpec:
    fields = {"pod": key, "path": "/proc/self/ns/net", "server": "pause", "log": str(folder / f"{key}.log"), **more}
    return ServerSpec(key=f"{key}/c", **fields)


BAD_SERVERS = [
    pytest.param({"server": "whoami", "environment": {"WHOAMI_PORT_NUMBER": "abc"}}, 1, "unknown port", id="a port in words"),
    pytest.param({"server": "no such server"}, 2, "internal error: KeyError", id="a server that nobody has"),
    pytest.param({"log": "/proc/self/no/log"}, 1, "", id="a log that cannot be opened"),
    pytest.param({"path": "/nowhere", "server": "nginx"}, 1, "/nowhere", id="a namespace that is gone"),
]


@pytest.mark.parametrize(("bad", "code", "words"), BAD_SERVERS)
async def test_one_bad_server_ends_and_the_others_are_served(tmp_path, maker, bad, code, words):
    """It has an exit code and last words; servers that come before and after it run, and the conversation continues."""
    state = StateDirectory("lab", tmp_path / "lab")
    state.create()
    path, reports = state.socket("w"), []
    serving = asyncio.create_task(program._serve(path, maker))
    link = WorkloadsLink(path, reports.append)
    link.want([spec("a", tmp_path), spec("bad", tmp_path, **bad), spec("c", tmp_path)])
    talking = asyncio.create_task(link.run())
    await soon(lambda: reports or serving.done() or talking.done())
    link.want([spec("a", tmp_path), spec("c", tmp_path), spec("d", tmp_path)])
    await soon(lambda: len(reports) > 1)
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    first = {status.key: status for status in reports[0].servers}

    assert {key: status.code for key, status in first.items()} == {"a/c": None, "bad/c": code, "c/c": None}
    assert words in first["bad/c"].message
    assert [status.key for status in reports[-1].servers] == ["a/c", "c/c", "d/c"]


async def test_a_sending_that_breaks_is_logged_and_tried_again(tmp_path, maker, caplog):
    """What cannot be sent ends the conversation with a line in the log; what comes next is sent."""
    state = StateDirectory("lab", tmp_path / "lab")
    state.create()
    path, reports = state.socket("w"), []
    serving = asyncio.create_task(program._serve(path, maker))
    link = WorkloadsLink(path, reports.append)
    link.want([spec("a", tmp_path, environment={"KEY": "\udcff"})])
    talking = asyncio.create_task(link.run())
    await soon(lambda: any("conversation=w state=failed" in record.getMessage() for record in caplog.records) or talking.done())
    link.want([spec("b", tmp_path)])
    await soon(lambda: reports or talking.done())
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)

    assert [status.key for status in reports[-1].servers] == ["b/c"]
    assert len([record for record in caplog.records if "conversation=w state=failed" in record.getMessage()]) == 1


async def test_a_listener_that_breaks_is_logged_and_told_again(tmp_path, maker, caplog):
    """The kubelet's side may break on one report: it is logged, and reports go on after the next connection."""
    state = StateDirectory("lab", tmp_path / "lab")
    state.create()
    path, reports = state.socket("w"), []
    serving = asyncio.create_task(program._serve(path, maker))

    def listener(report) -> None:
        reports.append(report)
        if len(reports) == 1:
            raise KeyError("once")

    link = WorkloadsLink(path, listener)
    link.want([spec("a", tmp_path)])
    talking = asyncio.create_task(link.run())
    await soon(lambda: len(reports) > 1 or talking.done())
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)

    assert len(reports) > 1
    assert any("internal error: KeyError" in record.getMessage() for record in caplog.records)
