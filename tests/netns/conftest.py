"""Fixtures for tests against the real kernel: fresh namespaces, and the host's own left as it was."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from netlab.dataplane.state import NamespaceState
from netlab.kernel.door import Kernel
from netlab.kernel.fake import FakeKernel
from netlab.kernel.linux import LinuxKernel

HOST = "/proc/self/ns/net"
HOST_SYSCTLS = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables", "net/ipv4/conf/all/rp_filter")
MakeNamespace = Callable[[str], str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder: `-m "not netns"` leaves it out."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.netns)


@pytest.fixture(scope="session", autouse=True)
def root(cannot_run: Callable[[str], NoReturn]) -> None:
    """Ask before any other fixture is made: those of the session that all tests use come first."""
    if os.geteuid() != 0:
        cannot_run("needs root: it makes network namespaces (run the tests with sudo)")


def host_state() -> tuple[NamespaceState, int]:
    """Return what a lab must not change on the host: links, addresses, routes, settings, rules."""
    kernel = LinuxKernel()
    observed = kernel.observe(HOST, sysctls=HOST_SYSCTLS)
    return replace(observed, neighbours=()), kernel.nft_generation(HOST)


@pytest.fixture(autouse=True)
def unchanged_host() -> Iterator[None]:
    """Fail when the test changes the host's own network namespace."""
    before = host_state()
    yield
    after = host_state()

    assert before == after


@pytest.fixture(params=["linux", "fake"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Both implementations of the door: what holds for one holds for the other."""
    return LinuxKernel() if request.param == "linux" else FakeKernel()


@pytest.fixture
def linux() -> LinuxKernel:
    """The real kernel alone."""
    return LinuxKernel()


@pytest.fixture
def prefix() -> str:
    """A prefix for names that nobody else has."""
    return f"nlt{secrets.token_hex(4)}"


@pytest.fixture
def make_namespace(request: pytest.FixtureRequest, prefix: str) -> Iterator[MakeNamespace]:
    """Return what makes a namespace `/run/netns/<prefix>-<name>` in the test's kernel; all are removed afterwards."""
    kernel: Kernel = request.getfixturevalue("kernel" if "kernel" in request.fixturenames else "linux")
    made: list[str] = []

    def make(name: str) -> str:
        path = f"/run/netns/{prefix}-{name}"
        made.append(path)
        kernel.create_namespaces([path])
        return path

    yield make
    kernel.delete_namespaces(made)
    left = [path for path in made if kernel.namespace_exists(path)]

    assert left == []
