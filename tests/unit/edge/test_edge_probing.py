from __future__ import annotations

import socket

import pytest
from aiohttp import web

from netlab.edge.frontends import Check, CheckKind
from netlab.edge.probing import probe

HOST = "127.0.0.1"
SLOW_MACHINE = 30.0  # seconds that even a slow machine needs less than


@pytest.fixture
async def node():
    """A node's health server on loopback; `status` is what it says."""
    said = {"status": 200, "path": ""}

    async def answer(request: web.BaseRequest) -> web.Response:
        said["path"] = request.path
        return web.Response(status=said["status"], headers={"Location": "/"})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    yield said, runner.addresses[0][1]
    await runner.cleanup()


@pytest.mark.parametrize(("status", "expected"), [(200, True), (503, False), (302, False), (204, False)])
async def test_edge_probe_http(node, status, expected):
    """Only 200 on /healthz is healthy."""
    said, port = node
    said["status"] = status
    healthy = await probe(Check(CheckKind.HTTP, HOST, port), SLOW_MACHINE)

    assert (expected, "/healthz") == (healthy, said["path"])


async def test_edge_probe_tcp(node):
    """A connection that can be made is healthy."""
    assert await probe(Check(CheckKind.TCP, HOST, node[1]), SLOW_MACHINE)


@pytest.mark.parametrize("kind", list(CheckKind))
async def test_edge_probe_refused(free_port, kind):
    """Nobody listening is an answer, not an error."""
    assert not await probe(Check(kind, HOST, free_port()))


async def test_edge_probe_silence():
    """A server that accepts and says nothing is unhealthy after the timeout."""
    with socket.create_server((HOST, 0)) as silent:
        healthy = await probe(Check(CheckKind.HTTP, HOST, silent.getsockname()[1]), 0.1)

    assert not healthy
