"""What all unit tests share."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netlab.controlplane.store import Store


@pytest.fixture(autouse=True)
def _stores_are_closed(monkeypatch):
    """Close every store that a test opens: Python 3.13 reports a database that is merely dropped."""
    opened, open_store = [], Store.open.__func__

    def open_and_remember(cls, path, **options):
        opened.append(open_store(cls, path, **options))
        return opened[-1]

    monkeypatch.setattr(Store, "open", classmethod(open_and_remember))
    yield
    for store in opened:
        store.close()


@pytest.fixture
def free_port() -> Iterator[Callable[[], int]]:
    """Return a function that returns a TCP port of all addresses which is the test's own until its end.

    It is bound and not listened on: the kernel gives it to nobody else, neither to who asks for any port nor to who connects
    from one, a server of the test can have it (SO_REUSEADDR), and as long as none has, connections are refused.
    """
    held: list[socket.socket] = []

    def hold() -> int:
        held.append(socket.socket())
        held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held[-1].bind(("", 0))  # of loopback alone, a connection from another address could have it, and the server of "" not
        return int(held[-1].getsockname()[1])

    yield hold
    for one in held:
        one.close()


@pytest.fixture
def near() -> Iterator[Path]:
    """A folder for Unix sockets: their paths have 107 bytes, which `tmp_path` may leave no room for (unix(7))."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="netlab-") as folder:
        yield Path(folder)
