"""A node's overlay and rules in the real kernel: one bad lease and one bad Service, and the others work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from overlaynodes import LAB, node

from netlab.api.meta import ObjectMeta
from netlab.api.services import Service, ServicePort, ServiceSpec
from netlab.dataplane.state import Address, Link, Operation, Verb, Veth
from netlab.family import Family
from netlab.kernel.door import Kernel
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.states import StateKeeper
from netlab.node.agent.parts import PartsKeeper
from netlab.overlay.vxlan import BACKEND_DATA, VxlanLease, overlay, vtep_mac
from netlab.plane import View, parts
from netlab.proxy.servicemap import ServiceTracker

pytestmark = pytest.mark.netns

MakeNamespace = Callable[[str], str]


def service(name: str, cluster_ip: str, **spec: object) -> Service:
    ports = (ServicePort(port=80),)
    return Service(metadata=ObjectMeta(name=name, namespace="ns"), spec=ServiceSpec(cluster_ip=cluster_ip, ports=ports, **spec))


@pytest.fixture
def path(kernel: Kernel, make_namespace: MakeNamespace) -> str:
    """A node's namespace with its end of the underlay."""
    made, far = make_namespace("node"), make_namespace("far")
    kernel.perform(made, [Operation(Verb.ADD, Link("eth0", Veth("far", far)))])
    kernel.perform(made, [Operation(Verb.SET, Address("eth0", "172.30.1.1/16"))])
    return made


def remotes(kernel: Kernel, path: str) -> tuple[list[str], list[str], list[str]]:
    """Where routes, ARP and FDB lead."""
    state = kernel.observe(path)
    return (
        sorted(r.destination for r in state.routes if r.device == "flannel.1"),
        sorted(n.address for n in state.neighbours if n.device == "flannel.1"),
        sorted(e.remote for e in state.forwarding if e.device == "flannel.1"),
    )


BOTH = (["10.244.2.0/24", "10.244.4.0/24"], ["10.244.2.0", "10.244.4.0"], ["172.30.1.2", "172.30.1.4"])


def test_a_bad_lease_and_a_bad_service_fail_alone(kernel: Kernel, path: str):
    """Brackets for a lease, commands for an address: the other nodes are reached, the other Service is served (S2, B1)."""
    keeper = PartsKeeper(kernel, path, parts(LAB))
    tracker = ServiceTracker(node(1), Family.IPV4)
    tracker.set_service("ns/bad", service("bad", "10.96.0.7 }\nflush ruleset\nadd table ip x"))
    tracker.set_service("ns/good", service("good", "10.96.0.8", external_ips=("192.0.2.1",)))
    nodes = (node(1), node(2), node(3, **{BACKEND_DATA: "[" * 100_000}), node(4))
    keeper.keep(View(nodes[0], nodes, tracker.current()))
    served = " ".join(kernel.nft_list(path, "ip", "kube-proxy").elements["no-endpoint-services"])

    assert remotes(kernel, path) == BOTH
    assert ({"node node3"}, {"service ns/bad"}) == (set(keeper.refused), set(tracker.refused))
    assert "10.96.0.8" in served
    assert "10.96.0.7" not in served
    assert not kernel.nft_list(path, "ip", "x").exists


def test_an_entry_that_the_kernel_refuses_is_rolled_back_alone(linux: LinuxKernel, make_namespace: MakeNamespace):
    """A lease with a broadcast MAC address, which no parser accepts: the kernel refuses it, the others stay (S2)."""
    path, far = make_namespace("node"), make_namespace("far")
    linux.perform(path, [Operation(Verb.ADD, Link("eth0", Veth("far", far)))])
    now = [0.0]
    keeper = StateKeeper(linux, path, "overlay", lambda: now[0])
    own, *others = [
        VxlanLease(f"node{n}", f"10.244.{n}.0/24", f"172.30.1.{n}", vtep_mac("lab", f"node{n}", {})) for n in range(1, 5)
    ]
    keeper.keep(overlay("lab", own, [replace(o, vtep_mac="ff:ff:ff:ff:ff:ff") if o.node == "node3" else o for o in others]).state)
    without, refused = remotes(linux, path), set(keeper.refused)
    now[0] = 100.0
    keeper.keep(overlay("lab", own, others).state)

    assert (BOTH, {"node3"}) == (without, refused)
    assert ("172.30.1.3", {}) == (remotes(linux, path)[2][1], dict(keeper.refused))
