"""How a daemon is started: what it is handed, and that none is left over."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from netlab.errors import LabError
from netlab.process import launch
from netlab.state import StateDirectory


@pytest.mark.parametrize("taken", [False, True])
def test_the_port_of_an_earlier_daemon(tmp_path, free_port, taken):
    """A daemon listens where the one before it did, so that kubeconfig files stay good; where that is taken, anywhere."""
    state = StateDirectory("demo", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as listener:
        port = other.getsockname()[1] if taken else free_port()
        state.api.write_text(json.dumps({"loopback": port}))
        launch._listen(listener, launch._known_port(state))

        assert ("127.0.0.1", not taken) == (listener.getsockname()[0], listener.getsockname()[1] == port)


def test_the_first_daemon_has_any_port(tmp_path):
    """Where none was before, the kernel chooses."""
    with socket.socket() as listener:
        launch._listen(listener, launch._known_port(StateDirectory("demo", tmp_path)))

        assert listener.getsockname()[1] > 0


@pytest.fixture
def state(tmp_path):
    """The record of a lab with nothing in it but the folder of its logs."""
    found = StateDirectory("demo", tmp_path)
    found.log("daemon").parent.mkdir()
    return found


def test_a_daemon_that_is_not_needed_is_ended():
    """What `up` finds wrong while the daemon loads leaves no process behind."""
    pids = []
    with pytest.raises(LabError, match="no such image"):
        _find_fault_while_loading(pids)

    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def _find_fault_while_loading(pids):
    with launch.loading_daemon("netns") as daemon:
        pids.append(daemon._pid)
        assert os.waitpid(daemon._pid, os.WNOHANG) == (0, 0)
        raise LabError("no such image")


def test_a_daemon_ends_with_an_up_that_was_killed():
    """It has no lab yet, and nobody to give it one."""
    words = (
        "import os, signal; from netlab.process import launch\n"
        "with launch.loading_daemon('netns') as daemon:\n"
        " print(daemon._pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", words], stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL

    with suppress(ProcessLookupError):  # already
        assert select.select([os.pidfd_open(int(killed.stdout))], [], [], 30)[0]


def test_a_daemon_that_cannot_load_says_why(state):
    """Its last words, which no log has, are in the error."""
    with (
        socket.socket() as loopback,
        state.store.open("w") as lock,
        pytest.raises(LabError, match=r"daemon of lab 'demo' \(pid \d+\) exited before it was ready(.|\n)*KeyError: 'none'"),
        launch.loading_daemon("none") as daemon,
    ):
        daemon.begin(state, launch.Handed(lock.fileno(), loopback), 30)
