"""What to try next: each command works where the user is."""

from __future__ import annotations

import pytest

from netlab.lab.next import Words, suggestions

STATUS = {
    "name": "demo",
    "hosts": [{"name": "client", "address": "203.0.113.10"}],
    "nodes": [{"name": "node1", "address": "172.30.1.1"}],
    "pods": [
        {"namespace": "default", "name": "on-node", "status": "Running", "ip": "172.30.1.1"},
        {"namespace": "default", "name": "web-1", "status": "Running", "ip": "10.244.1.2"},
    ],
    "services": [
        {
            "namespace": "default",
            "name": "web",
            "type": "LoadBalancer",
            "externalIP": "198.51.100.1",
            "ports": "80:31000/TCP",
            "endpoints": 1,
        }
    ],
}


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (Words(), "netlab exec node1 -- ip route", "netlab exec node1 -- ip route"),
        (Words(".venv/bin/netlab"), "netlab down demo", ".venv/bin/netlab down demo"),
        (Words("sudo netlab", "demo"), "netlab exec node1 -- ip route", "sudo netlab exec --lab demo node1 -- ip route"),
        (Words("netlab", "demo"), "netlab test connectivity", "netlab test connectivity demo"),
    ],
)
def test_words(words, text, said):
    """A command names the program as it was called, and the lab when several run."""
    assert said == words(text)


def test_five():
    """There are five, the last of them takes the lab down."""
    commands = [command for command, _ in suggestions(STATUS, Words())]

    assert 5 == len(commands)
    assert commands[0] == "netlab exec client -- curl -s http://198.51.100.1:80/"
    assert commands[1] == "netlab exec web-1 -- curl -s http://web:80/"  # a hostNetwork pod does not know Services by name
    assert commands[-1] == "netlab down demo"


def test_five_in_an_empty_lab():
    """A lab without pods and clients has five things to try as well."""
    assert 5 == len(suggestions({**STATUS, "hosts": [], "pods": [], "services": []}, Words()))
