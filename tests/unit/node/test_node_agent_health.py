from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from netlab.api.cluster import Node, NodeStatus
from netlab.api.lab import Lab
from netlab.api.meta import Condition
from netlab.controlplane.connection import Connection
from netlab.node.agent.agent import Agent
from netlab.node.agent.health import HealthServers
from netlab.proxy.health import Answer

HOST = "127.0.0.1"
GOOD, BAD = Answer(200, '{"good": true}'), Answer(503, '{"good": false}')


async def ask(port: int, path: str) -> tuple[int, str]:
    async with asyncio.timeout(5):
        connection = await Connection.open(HOST, port, 5)
        try:
            return await connection.ask("GET", path), b"".join([part async for part in connection.body()]).decode()
        finally:
            connection.close()


@pytest.fixture
def ports(free_port):
    return {"healthz_port": free_port(), "metrics_port": free_port()}


@pytest.fixture
async def servers(ports):
    made = HealthServers(lambda live: GOOD if live else BAD, "nftables", **ports)
    await made.start()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("port", "path", "expected"),
    [
        ("healthz_port", "/healthz", (503, BAD.body)),
        ("healthz_port", "/livez?verbose", (200, GOOD.body)),
        ("healthz_port", "/", (404, "")),
        ("metrics_port", "/proxyMode", (200, "nftables")),
        ("metrics_port", "/metrics", (404, "")),
    ],
)
@pytest.mark.usefixtures("servers")
async def test_the_proxy_itself(ports: dict[str, int], port: str, path: str, expected: tuple[int, str]) -> None:
    """The proxy's own health and mode are at kube-proxy's paths, and nothing else is."""
    assert expected == await ask(ports[port], path)


async def test_ports_of_services(servers: HealthServers, free_port: Callable[[], int]) -> None:
    """Every Service's port gives its own answer at any path, the newest; a port that is not wanted any more is closed."""
    first, second = free_port(), free_port()
    await servers.update({first: GOOD, second: BAD})
    before = [await ask(first, "/"), await ask(second, "/any")]
    await servers.update({first: BAD})
    after = await ask(first, "/")
    with pytest.raises(ConnectionError):
        await ask(second, "/")

    assert ([(200, GOOD.body), (503, BAD.body)], (503, BAD.body)) == (before, after)


async def test_a_port_that_is_taken(
    servers: HealthServers, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    """A port that somebody else on the node has is told; the others are served."""
    with socket.create_server(("", 0)) as taken:
        port, other = taken.getsockname()[1], free_port()
        await servers.update({port: GOOD, other: GOOD})

        assert (200, GOOD.body) == await ask(other, "/")
        assert f"port={port} served=no" in caplog.text


async def test_headers(servers: HealthServers, free_port: Callable[[], int]) -> None:
    """An answer is JSON, and says so as kube-proxy does."""
    port = free_port()
    await servers.update({port: GOOD})
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    async with asyncio.timeout(5):
        head = (await reader.read()).decode().lower()
    writer.close()
    await writer.wait_closed()

    assert {"content-type: application/json", "x-content-type-options: nosniff"} <= set(head.split("\r\n"))


async def test_a_node_that_is_not_ready_answers_no_health_check():
    """A load balancer checks UDP by the node's own health: it must not learn of a node to which others have no route yet."""

    async def note(word):
        done.append(word)

    done = []
    agent = Agent(Lab(), "node1", None)
    agent._health.start, agent._health.update = lambda: note("start"), lambda _answers: note("update")
    for ready in ("", "False", "True", "False"):
        conditions = (Condition(type="Ready", status=ready),) if ready else ()
        agent._own = Node(status=NodeStatus(conditions=conditions))
        await agent._keep_health(_look=False)

    assert ["update", "update", "start", "update", "update"] == done


async def test_idle_clients_do_not_keep_others_out(ports: dict[str, int]) -> None:
    """One client's connections are bounded over all ports; its newest one is answered (finding S3)."""
    servers = HealthServers(lambda _: GOOD, "nftables", most_per_client=4, **ports)
    await servers.start()
    idle = [socket.create_connection((HOST, ports["healthz_port"])) for _ in range(40)]
    answer = await ask(ports["healthz_port"], "/healthz")
    held = len(servers._roster.seats)
    for line in idle:
        line.close()
    await servers.close()

    assert ((200, GOOD.body), True) == (answer, held <= 4)
