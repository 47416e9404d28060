"""Names are the same for the same inputs, differ for different ones, and fit where they go."""

from __future__ import annotations

import re

import pytest

from netlab.dataplane.names import LONGEST_NAME, digest, mac_address, pod_link, pod_namespace


@pytest.mark.parametrize(
    ("namespace", "pod", "name"),
    [
        pytest.param("default", "blue-1", "lab-default-blue-1", id="plain"),
        pytest.param("team", "a-web", "lab-team-a-web", id="a dash in the pod's name"),
        pytest.param("team-a", "web", f"lab-team-a-web-{digest('lab', 'team-a', 'web')}", id="a dash in the namespace: a digest"),
    ],
)
def test_pod_namespace(namespace, pod, name):
    """A pod's network namespace is named after it, and after no other pod."""
    assert name == pod_namespace("lab", namespace, pod)


def test_long_names_are_cut():
    """A name that would not fit is cut, and still belongs to one pod."""
    first, second = (pod_namespace("lab", "default", "x" * 250 + end) for end in "ab")

    assert LONGEST_NAME == len(first)
    assert first != second


def test_interface_names_fit():
    """An interface name has at most 15 bytes; a MAC address is locally administered and unicast."""
    assert len(pod_link("lab", "default", "blue", "uid")) == len("veth12345678") <= 15
    assert re.fullmatch(r"02(:[0-9a-f]{2}){5}", mac_address("lab", "node1", "eth0"))
