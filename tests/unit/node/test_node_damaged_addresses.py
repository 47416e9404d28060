"""The addresses of a node's pods when their record is damaged or gone (finding M2)."""

from __future__ import annotations

import msgspec
import pytest

from netlab.api.lab import Networking
from netlab.api.meta import ObjectMeta
from netlab.api.pods import Pod, PodSpec, PodStatus
from netlab.kernel.fake import FakeKernel
from netlab.node.kubelet.sandbox import NodePods, Sandboxes
from netlab.state import StateDirectory


@pytest.fixture
def state(tmp_path):
    state = StateDirectory("lab", tmp_path)
    state.create()
    return state


def reserved(state: StateDirectory, **addresses: str) -> dict[str, str]:
    """Return the addresses that pods get on a node, with the addresses that their status has."""
    sandboxes = Sandboxes(FakeKernel(), state, Networking(), "lab", lambda _: {})
    pods = tuple(
        Pod(
            metadata=ObjectMeta(name=name, namespace="x", uid=name),
            spec=PodSpec(node_name="n1"),
            status=PodStatus(pod_ip=address),
        )
        for name, address in addresses.items()
    )
    assert sandboxes._reserve(NodePods("n1", "10.244.1.0/24", pods)) == {}
    return {name: found["address"] for name, found in msgspec.json.decode((state.ipam / "n1").read_bytes())["pods"].items()}


@pytest.mark.parametrize("content", [b"", b'{"last": "10.2', b"\xff\xfe\x00", b"[]", b'{"pods": {"u": 5}}', None])
def test_pods_keep_their_addresses(state, content):
    """A record that says nothing is rebuilt from the pods' status; a new pod gets none of their addresses."""
    if content is not None:
        (state.ipam / "n1").write_bytes(content)

    found = reserved(state, new="", a="10.244.1.7", b="10.244.1.2")

    assert found == {"a": "10.244.1.7", "b": "10.244.1.2", "new": "10.244.1.3"}


@pytest.mark.parametrize("address", ["10.244.1.2", "10.245.0.9", "10.244.1.1", "x", "10.244.1.255", "::1"])
def test_only_a_free_address_of_the_node_is_kept(state, address):
    """A status is a claim: the address of another pod, of another range or of the bridge is not handed out."""
    assert reserved(state, a="10.244.1.2", b=address) == {"a": "10.244.1.2", "b": "10.244.1.3"}
