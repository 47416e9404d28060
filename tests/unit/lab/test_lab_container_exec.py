"""The engine's client as it is called to run a command in a container."""

from __future__ import annotations

import pytest

from netlab.errors import UnsupportedHostError
from netlab.lab import container_exec
from netlab.lab.container_exec import client_command


@pytest.mark.parametrize(
    ("environment", "user", "terminal", "options"),
    [
        pytest.param({}, "", False, [], id="no terminal"),
        pytest.param({"TERM": "xterm", "SECRET": "x"}, "", True, ["--tty", "--env", "TERM=xterm"], id="a terminal, no secrets"),
        pytest.param({}, "0", False, ["--user", "0"], id="as root"),
    ],
)
def test_client_command(environment, user, terminal, options) -> None:
    """Input always, a terminal where there is one, and of the environment what a terminal needs."""
    command = client_command("netlab_demo_node1", ["ip", "route"], environment, user=user, terminal=terminal)

    assert command == ["docker", "exec", "--interactive", *options, "netlab_demo_node1", "ip", "route"]


def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Without the client the package that has it is named."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UnsupportedHostError, match=r"the program docker, which .* is not installed(.|\n)*apt-get install"):
        container_exec.execute("c", ["true"])
