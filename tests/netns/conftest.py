"""Fixtures for tests against the real kernel: fresh namespaces, and the host's own left as it was."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
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


def without_privilege(user: int, environment: Mapping[str, str]) -> Callable[[str], NoReturn] | None:
    """Return what to do with a test when it cannot run, None when it can.

    Continuous integration proves every tier: there, one that cannot run is a failure; on a desk it is left out.
    """
    if user == 0:
        return None
    return pytest.fail if environment.get("CI", "").lower() in {"true", "1"} else pytest.skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder: `-m "not netns"` leaves it out."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.netns)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Ask before any fixture of the test is made, those of the module and session included."""
    if refuse := without_privilege(os.geteuid(), os.environ):
        refuse("needs root: it makes network namespaces (run the tests with sudo)")


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
