"""A pod that opens connections and says nothing takes nothing away from anybody else (findings S3, M8)."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import dns.message
import dns.query
import pytest
from labdriver import TOPOLOGIES

from netlab.dataplane.names import namespace_path, pod_namespace
from netlab.kernel.namespaces import inside

CONNECTIONS = 1005
LOG_LIMIT = 50_000  # bytes that an attack may add to a log
NAME = "super-app.default.svc.cluster.local"


@contextmanager
def idle_connections(path: str, address: str, port: int) -> Iterator[int]:
    """Hold as many connections from a namespace as the server lets in; yield how many were tried."""
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            with inside(path):
                line = stack.enter_context(socket.socket())
            line.settimeout(5)
            line.connect((address, port))
        yield CONNECTIONS


def ask_over_tcp(path: str) -> str:
    with inside(path):
        line = socket.socket()
    with line:
        line.settimeout(5)
        line.connect(("10.96.0.10", 53))
        answer = dns.query.tcp(dns.message.make_query(NAME, "A"), "10.96.0.10", timeout=5, sock=line)
    return str(answer.answer[0][0])


def page(path: str, address: str) -> bytes:
    with inside(path):
        line = socket.socket()
    with line:
        line.settimeout(5)
        line.connect((address, 80))
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return line.recv(100)


@pytest.mark.usefixtures("many_files")
def test_a_pod_with_a_thousand_idle_connections(lab) -> None:
    """API server, DNS over TCP and a built-in workload answer others, the attacker's own node too; the logs stay small."""
    lab.up(TOPOLOGIES / "cluster-ip.yaml")
    path = namespace_path(pod_namespace(lab.name, "default", "shell"))
    node = namespace_path(f"{lab.name}-node1")
    other = next(pod for pod in lab.pods("sample-dep"))
    neighbour = namespace_path(pod_namespace(lab.name, "default", other["name"]))
    logs = lab.state / "logs"
    before = {log.name: log.stat().st_size for log in logs.iterdir()}
    address = lab.service("super-app")["clusterIP"]

    with idle_connections(path, "10.96.0.1", 443), idle_connections(path, "10.96.0.10", 53), idle_connections(path, address, 80):
        start = time.monotonic()
        status = lab.status()
        seconds = time.monotonic() - start
        lab.up(TOPOLOGIES / "cluster-ip.yaml")
        answers = {ask_over_tcp(asking) for asking in (path, neighbour)}
        pages = [page(asking, address) for asking in (path, neighbour, node)]
    grown = {log.name: log.stat().st_size - before.get(log.name, 0) for log in logs.iterdir()}

    assert seconds < 10
    assert {address} == answers
    assert [b"HTTP/1.1 200"] * 3 == [text[:12] for text in pages]
    assert {"Ready"} == {found["status"] for found in status["nodes"]}
    assert max(grown.values()) < LOG_LIMIT, grown
    assert {"pass"} == {check["verdict"] for check in lab.test("--only", "pod-cluster-ip").get("checks")}
