"""A node's end of the overlay with a kernel in memory: one lease that is bad, or refused, leaves the others alone."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable

import pytest
from overlaynodes import LAB, node

from netlab.api.cluster import Node, NodeSpec
from netlab.dataplane.state import ForwardingEntry, Link, Operation, Route, Verb, Veth
from netlab.errors import KernelError
from netlab.family import Family
from netlab.kernel.fake import FakeKernel
from netlab.node.agent.parts import PartsKeeper
from netlab.overlay.backends import announcement
from netlab.overlay.leases import PUBLIC_IP
from netlab.overlay.vxlan import BACKEND_DATA, vtep_mac
from netlab.plane import Overlay, View

PATH = "/run/netns/lab-node1"


class Kernel(FakeKernel):
    """Refuses every operation on an item that `refuses` names."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[object], bool] = lambda _: False

    def perform(self, path, operations):
        for operation in operations:
            if operation.verb is not Verb.DELETE and self.refuses(operation.item):
                raise KernelError(f"The kernel refused `{operation}`.", errno=errno.EINVAL)
            super().perform(path, [operation])


@pytest.fixture
def kernel() -> Kernel:
    made = Kernel()
    made.create_namespaces([PATH, "/run/netns/far"])
    made.perform(PATH, [Operation(Verb.ADD, Link("eth0", Veth("far", "/run/netns/far")))])
    return made


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def keeper(kernel: Kernel, now: list[float]) -> PartsKeeper:
    return PartsKeeper(kernel, PATH, [Overlay(LAB, Family.IPV4)], lambda: now[0])


def view(*nodes: Node) -> View:
    """What the first of these nodes knows."""
    return View(nodes[0], nodes)


def reached(kernel: Kernel) -> list[str]:
    """The nodes to which all three entries lead."""
    state = kernel.observe(PATH)
    routes = {r.gateway for r in state.routes}
    macs = {n.mac for n in state.neighbours if n.address in routes}
    complete = sorted(e.remote for e in state.forwarding if e.mac in macs)
    assert len(state.routes) == len(state.neighbours) == len(state.forwarding) == len(complete)
    return complete


BAD = [
    {BACKEND_DATA: "[" * 100_000},
    {BACKEND_DATA: "[" * 1000},
    {BACKEND_DATA: json.dumps({"VtepMAC": "ff:ff:ff:ff:ff:ff"})},
    {BACKEND_DATA: json.dumps({"VtepMAC": "01:00:5e:00:00:01"})},
    {BACKEND_DATA: json.dumps({"VtepMAC": "00:00:00:00:00:00"})},
    {BACKEND_DATA: json.dumps({"VtepMAC": vtep_mac("lab", "node1", {})})},
    {BACKEND_DATA: json.dumps({"VtepMAC": "02:00:00:00:00:09", "VNI": 10**30})},
    {PUBLIC_IP: "172.30.1.1"},
    {PUBLIC_IP: "172.30.1.2\nflush"},
]


@pytest.mark.parametrize("annotations", BAD, ids=range(len(BAD)))
def test_a_bad_lease_is_left_out_alone(kernel: Kernel, keeper: PartsKeeper, annotations: dict[str, str]):
    """The others are programmed, the bad one is named; when it is right it is programmed, too (S2)."""
    keeper.keep(view(node(1), node(2), node(3, **annotations), node(4)))
    without, refused = reached(kernel), set(keeper.refused)
    keeper.keep(view(node(1), node(2), node(3), node(4)))

    assert (["172.30.1.2", "172.30.1.4"], {"node node3"}) == (without, refused)
    assert (["172.30.1.2", "172.30.1.3", "172.30.1.4"], {}) == (reached(kernel), dict(keeper.refused))


REFUSALS = [
    pytest.param(lambda item: isinstance(item, ForwardingEntry) and item.remote == "172.30.1.3", id="FDB"),
    pytest.param(lambda item: isinstance(item, Route) and item.destination == "10.244.3.0/24", id="route"),
]


@pytest.mark.parametrize("refuses", REFUSALS)
def test_a_lease_that_the_kernel_refuses_is_rolled_back_alone(kernel, keeper, now, refuses):
    """None of its entries is left, the others stay; it is tried again after a while, and not before (S2)."""
    nodes = [node(number) for number in range(1, 5)]
    kernel.refuses = refuses
    keeper.keep(view(*nodes))
    without, refused = reached(kernel), set(keeper.refused)
    kernel.refuses = lambda _: False
    performed = len(kernel.performed)
    keeper.keep(view(*nodes))
    early = len(kernel.performed)
    now[0] += 1.0
    keeper.keep(view(*nodes))

    assert (["172.30.1.2", "172.30.1.4"], {"node node3"}) == (without, refused)
    assert performed == early
    assert (["172.30.1.2", "172.30.1.3", "172.30.1.4"], {}) == (reached(kernel), dict(keeper.refused))


def test_a_refused_device_is_an_error(kernel, keeper):
    """Without flannel.1 there is no overlay: the kernel's refusal is raised, and the next call tries again."""
    kernel.refuses = lambda item: isinstance(item, Link) and item.name == "flannel.1"
    with pytest.raises(KernelError):
        keeper.keep(view(node(1), node(2)))
    kernel.refuses = lambda _: False
    keeper.keep(view(node(1), node(2)))

    assert ["172.30.1.2"] == reached(kernel)


def test_own_annotations_do_not_matter_here(kernel, keeper):
    """What somebody wrote into the own Node's annotations is announced anew, and the own end stays as it is."""
    garbage = node(1, **{BACKEND_DATA: "[" * 100_000, PUBLIC_IP: "6.6.6.6"})
    keeper.keep(view(garbage, node(2)))

    assert ["172.30.1.2"] == reached(kernel)
    assert {BACKEND_DATA, PUBLIC_IP} == set(announcement(LAB, garbage))
    assert {} == announcement(LAB, node(1))


def test_a_subnet_outside_the_pod_network_takes_no_route(kernel, keeper):
    """A Node whose podCIDR is 0.0.0.0/0 must not become everybody's default route."""
    wide = node(3)
    keeper.keep(view(node(1), Node(metadata=wide.metadata, spec=NodeSpec(pod_cidr="0.0.0.0/0"), status=wide.status)))

    assert ([], {"node node3"}) == (reached(kernel), set(keeper.refused))


@pytest.mark.parametrize(("damage", "resync", "repaired"), [(False, True, False), (True, True, True), (True, False, False)])
def test_what_somebody_deleted_is_repaired_at_a_resync(kernel, keeper, damage: bool, resync: bool, repaired: bool):
    """Only what somebody else changed counts as repaired, not what is new."""
    keeper.keep(view(node(1), node(2)), resync=True)
    first = keeper.repaired
    if damage:
        kernel.perform(PATH, [Operation(Verb.DELETE, Link("flannel.1"))])
    keeper.keep(view(node(1), node(2)), resync=resync)

    assert (False, repaired) == (first, keeper.repaired)
    assert ([] if damage and not resync else ["172.30.1.2"]) == reached(kernel)
