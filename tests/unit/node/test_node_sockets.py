"""The sockets between a lab's processes are found however long the names of labs and nodes are."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from node_waiting import soon

from netlab.files import socket_address
from netlab.node import workloads
from netlab.node.docker_ready import ReadySocket
from netlab.node.pod_runtime import RunKey
from netlab.node.workloads_link import WorkloadsLink
from netlab.node.workloads_protocol import ServerSpec, ServerStatus
from netlab.runtime.statedir import StateDirectory

NODE = 63 * "n"


@pytest.fixture(params=[1, 40, 200], ids=lambda length: f"{length} characters")
def state(request, tmp_path) -> StateDirectory:
    """The record of a lab whose name is so long."""
    made = StateDirectory("lab", tmp_path / (request.param * "l"))
    made.create()
    return made


async def test_workloads(state, tmp_path):
    """The kubelet finds the workloads process of a node."""
    path, reports = state.socket(workloads.socket_name(NODE)), []
    idle, writing = os.pipe()  # the maker of sockets, which is not asked for one here
    maker: Any = SimpleNamespace(fileno=lambda: idle)
    serving = asyncio.create_task(workloads._serve(path, maker))
    link = WorkloadsLink(path, reports.append)
    link.want([ServerSpec(key="u/c", pod="p", path="/proc/self/ns/net", server="pause", log=str(tmp_path / "log"))])
    talking = asyncio.create_task(link.run())
    await soon(lambda: reports or serving.done() or talking.done())
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    os.close(idle)
    os.close(writing)

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
