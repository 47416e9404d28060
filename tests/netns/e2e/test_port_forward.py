"""`netlab port-forward`: a port of this machine's loopback leads into a pod, as a user sees it."""

from __future__ import annotations

import os
import re
import signal
import socket
import urllib.request
from contextlib import contextmanager

import pytest
from labdriver import COMMAND, TIME_LIMIT, TOPOLOGIES, LabDriver, run, talking

LONG = bytes(range(256)) * 400  # 100 kB: more than one chunk, less than what fits into the buffers on the way
CONNECTIONS = 200


@pytest.fixture(scope="module")
def quickstart():
    """One lab for all that only look at it."""
    lab = LabDriver(f"t{os.getpid()}f")
    lab.up(TOPOLOGIES / "quickstart.yaml")
    yield lab
    lab.down()


@contextmanager
def forwarding(lab, *words):
    """Run port-forward, yield the process and its local ports; end it as ^C does."""
    command = [*COMMAND, "port-forward", "--lab", lab.name, *words]
    with talking(command) as process:
        ports = sum(":" in word or word.isdigit() for word in words[1:])
        lines = [process.stdout.readline() for _ in range(ports)]
        yield process, [int(re.search(r":(\d+) -> ", line)[1]) for line in lines]
        process.send_signal(signal.SIGINT)
        assert 0 == process.wait(TIME_LIMIT), process.stderr.read()


def fetch(port, path="/"):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.headers["X-Netlab-Pod"], answer.headers["X-Netlab-Client"].partition(":")[0]


def echoed(port, sent):
    """Send everything, say that this was all, and return what comes back until the other side says the same."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(65536):
            received += chunk
    return received


def is_reset(port):
    """The reset may be there before the client knows that it is connected."""
    with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.recv(1)


TARGETS = [
    pytest.param("svc/kuard", "0:80", "kuard-", id="a Service with another targetPort"),
    pytest.param("deploy/blue", "0:http", "blue-", id="a Deployment, a port by its name"),
    pytest.param("blue", ":80", "blue-", id="a pod by the beginning of its name"),
]


@pytest.mark.parametrize(("target", "port", "prefix"), TARGETS)
def test_targets(quickstart, target, port, prefix):
    """One pod answers all requests; it sees them come from itself."""
    with forwarding(quickstart, target, port) as (process, (local,)):
        answers = {fetch(local) for _ in range(5)}

        said = process.stderr.readline()

    assert 1 == len(answers)
    name, client = answers.pop()
    assert name.startswith(prefix)
    assert "127.0.0.1" == client
    assert f"pod default/{name} on node" in said


def test_several_ports_and_addresses(quickstart):
    """Each address and each port listens by itself."""
    with forwarding(quickstart, "svc/blue", "0:80", "0:http", "--address=127.0.0.2") as (_, locals_):
        assert 2 == len(set(locals_))
        for local in locals_:
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", local), timeout=10)
            socket.create_connection(("127.0.0.2", local), timeout=10).close()


def test_half_closed_and_many(quickstart):
    """What is sent before the end comes back after it; two hundred connections at once do not mix."""
    with forwarding(quickstart, "svc/echo", "0:tcp") as (_, (local,)):
        assert LONG == echoed(local, LONG)

        open_ones = [socket.create_connection(("127.0.0.1", local), timeout=10) for _ in range(CONNECTIONS)]
        for number, connection in enumerate(open_ones):
            connection.sendall(f"I am {number:04}".encode())
        answers = [connection.recv(9) for connection in reversed(open_ones)]
        for connection in open_ones:
            connection.close()

    assert [f"I am {number:04}".encode() for number in reversed(range(CONNECTIONS))] == answers


def test_a_refused_connection_is_reset(quickstart):
    """Nobody listens on the pod's port: the client is reset, the user is told, and the forwarding goes on."""
    with forwarding(quickstart, "deploy/blue", "0:81", "0:80") as (process, (closed, opened)):
        is_reset(closed)
        assert fetch(opened)
        said = [process.stderr.readline() for _ in range(2)][1]

    assert "-> 81 of pod default/blue-" in said
    assert "connection refused" in said


def test_open_connections_end_with_it(quickstart):
    """^C ends the forwarding also while a connection is open and nobody says anything."""
    with forwarding(quickstart, "svc/echo", "0:tcp") as (_, (local,)):
        connection = socket.create_connection(("127.0.0.1", local), timeout=10)
        connection.sendall(b"x")
        assert b"x" == connection.recv(1)

    with connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["svc/nemo", "80"], 2, "there is no Service default/nemo"),
        (["svc/blue", "81"], 2, "Service default/blue has no port 81"),
        (["svc/echo", "udp"], 2, "only TCP can be forwarded"),
        (["svc/kubernetes", "443"], 1, "no pod behind Service default/kubernetes is ready"),
    ],
)
def test_refusals(quickstart, words, code, said):
    """What cannot be forwarded ends with a sentence and the exit code of who has to act."""
    assert said in run("port-forward", "--lab", quickstart.name, *words, check=code).stderr


def test_a_taken_port(quickstart):
    """A local port that somebody has is told as such, with the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("port-forward", "--lab", quickstart.name, "svc/blue", f"{port}:80", check=2)

    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in result.stderr
    assert "0:80" in result.stderr


def test_the_pod_goes(lab):
    """When the pod is gone, the next connection ends the forwarding with a sentence; the lab went down all the same."""
    lab.up(TOPOLOGIES / "cluster-ip.yaml")
    command = [*COMMAND, "port-forward", "--lab", lab.name, "svc/super-app", "0:80"]
    with talking(command) as process:
        local = int(re.search(r":(\d+) -> ", process.stdout.readline())[1])
        fetch(local)
        lab.down()
        is_reset(local)

        assert 1 == process.wait(TIME_LIMIT)
        assert "no longer exists" in process.stderr.read()
