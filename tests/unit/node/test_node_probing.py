"""Probes of a pod's containers: what breaks one is told, and does not end them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from netlab.api.meta import ObjectMeta
from netlab.api.pods import Container, HTTPGetAction, Pod, PodSpec, Probe, TCPSocketAction
from netlab.node.kubelet.probing import Probing
from netlab.node.kubelet.readiness_probes import NOT_HTTP, Target, probe_once
from netlab.node.pods import readiness
from netlab.node.pods.runtime import Run
from netlab.process.podfiles import PodFiles

HERE: Any = SimpleNamespace(inside=lambda _path: nullcontext())
DEADLINE = 30


def broken(_path: str) -> None:
    raise RuntimeError("nobody expected this")


async def test_a_probe_that_breaks_has_failed_and_the_next_is_made(tmp_path, monkeypatch, caplog):
    """Its container is not left waiting for a verdict that does not come; the log has where it broke."""
    monkeypatch.setattr(readiness, "next_time", lambda *_: 0.0)
    container = Container(name="web", image="nginx", readiness_probe=Probe(tcp_socket=TCPSocketAction(port=80)))
    pod = Pod(metadata=ObjectMeta(name="p", namespace="default", uid="u"), spec=PodSpec(containers=(container,)))
    seen: asyncio.Queue[tuple[str, readiness.Result]] = asyncio.Queue()
    kernel: Any = SimpleNamespace(inside=broken)
    runtime: Any = None
    probing = Probing(kernel, runtime, "/run/netns/none", lambda *told: seen.put_nowait(told))
    probing.begin(Run(pod, container, 0, "/run/netns/none", "127.0.0.1", PodFiles(tmp_path)))
    async with asyncio.timeout(DEADLINE):
        told = [await seen.get() for _ in range(3)]
    ending = probing.end_all()
    await asyncio.gather(*ending, return_exceptions=True)

    failed = readiness.Result(success=False, message="the probe failed unexpectedly: RuntimeError('nobody expected this')")
    assert told == [("web", failed)] * 3
    assert len(ending) == 1
    assert "nobody expected this" in caplog.text


@pytest.mark.parametrize(
    ("answer", "message"),
    [(b"HTTP/1.1 204 None\r\n", ""), (b"x" * 100_000, NOT_HTTP), (b"HTTP/1.1 \xb2\xb9\xb3 OK\r\n", NOT_HTTP), (b"", NOT_HTTP)],
    ids=["a status line", "one that does not end", "digits of another script", "nothing"],
)
async def test_what_a_server_answers(answer, message):
    """Whatever is answered is a verdict: no answer breaks the probe."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, family=socket.AF_INET)
    port = server.sockets[0].getsockname()[1]
    async with server:
        result = await probed(Probe(http_get=HTTPGetAction(port=port), timeout_seconds=DEADLINE))

    assert result == readiness.Result(success=not message, message=message)


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [("", "99999", "port must be 0-65535"), ("", "web", "no port named 'web'"), ("a..b", 80, "label")],
    ids=["no such port", "a port that is not declared", "no name of a host"],
)
async def test_where_nobody_can_be_asked(host, port, words):
    """An address that cannot be is a failed probe, with the reason."""
    result = await probed(Probe(tcp_socket=TCPSocketAction(host=host, port=port), timeout_seconds=DEADLINE))

    assert not result.success
    assert words in result.message


async def probed(probe: Probe) -> readiness.Result:
    async def no_command(_argv: tuple[str, ...], _limit: float) -> readiness.Result:
        raise AssertionError("no command is asked for")

    return await probe_once(HERE, probe, Target("/run/netns/none", "127.0.0.1", Container(name="web", image="nginx")), no_command)
