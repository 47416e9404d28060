"""What the daemon is handed."""

from __future__ import annotations

import json
import socket

import pytest

from netlab.runtime import launch
from netlab.runtime.statedir import StateDirectory


@pytest.mark.parametrize("taken", [False, True])
def test_the_port_of_an_earlier_daemon(tmp_path, taken):
    """A daemon listens where the one before it did, so that kubeconfig files stay good; where that is taken, anywhere."""
    state = StateDirectory("demo", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as listener:
        port = other.getsockname()[1]
        if not taken:
            other.close()
        state.api.write_text(json.dumps({"loopback": port}))
        launch._listen(listener, launch._known_port(state))

        assert ("127.0.0.1", not taken) == (listener.getsockname()[0], listener.getsockname()[1] == port)


def test_the_first_daemon_has_any_port(tmp_path):
    """Where none was before, the kernel chooses."""
    with socket.socket() as listener:
        launch._listen(listener, launch._known_port(StateDirectory("demo", tmp_path)))

        assert listener.getsockname()[1] > 0
