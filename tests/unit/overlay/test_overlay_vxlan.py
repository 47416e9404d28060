"""The backend `vxlan`: what a node announces, reads from the others and holds for them."""

from __future__ import annotations

import json

import pytest

from netlab.dataplane.state import Address, ForwardingEntry, Neighbour, Route, Vxlan
from netlab.family import Family
from netlab.overlay import leases, vxlan

LOCAL = vxlan.VxlanLease("node1", "10.244.1.0/24", "172.30.1.1", "02:00:00:00:00:01")
REMOTE = vxlan.VxlanLease("node2", "10.244.2.0/24", "172.30.1.2", "02:00:00:00:00:02")


def test_device_is_flannels():
    """flannel.1: VNI 1, port 8472, nolearning, MTU 50 less, the subnet's own address as /32 (semantics 2.13-2.15)."""
    state = vxlan.overlay("lab", LOCAL, []).state.whole
    link = state.links[0]

    assert ("flannel.1", Vxlan(1, 8472, "172.30.1.1", "eth0", learning=False)) == (link.name, link.kind)
    assert (1450, "02:00:00:00:00:01", "netlab:lab:flannel.1") == (link.mtu, link.mac, link.alias)
    assert (Address("flannel.1", "10.244.1.0/32"),) == state.addresses
    assert {} == state.sysctls


def test_remote_node_is_three_entries():
    """Per remote node exactly ARP, FDB and an onlink route (semantics 2.16); one's own lease is ignored (2.12)."""
    overlay = vxlan.overlay("lab", LOCAL, [LOCAL, REMOTE])
    state = overlay.state.whole

    assert () == overlay.ignored
    assert (Neighbour("flannel.1", "10.244.2.0", "02:00:00:00:00:02"),) == state.neighbours
    assert (ForwardingEntry("flannel.1", "02:00:00:00:00:02", "172.30.1.2"),) == state.forwarding
    assert (Route("10.244.2.0/24", "flannel.1", "10.244.2.0", onlink=True),) == state.routes


def test_two_nodes_of_one_subnet():
    """A subnet leads to one node; the second claim is refused with a reason."""
    second = vxlan.VxlanLease("node3", "10.244.2.0/24", "172.30.1.3", "02:00:00:00:00:03")
    overlay = vxlan.overlay("lab", LOCAL, [second, REMOTE])

    assert ["172.30.1.2"] == [entry.remote for entry in overlay.state.whole.forwarding]
    assert (leases.Problem("node3", "its subnet 10.244.2.0/24 belongs to another node", wrong=True),) == overlay.ignored


def own_mac(node: str) -> str:
    return vxlan.vtep_mac("lab", node, {})


def lease(node: str, subnet: str = "10.244.3.0/24", address: str = "172.30.1.3", mac: str = "") -> vxlan.VxlanLease:
    return vxlan.VxlanLease(node, subnet, address, mac or own_mac(node))


FOURTH = lease("node4", "10.244.4.0/24")
RIVALS = [
    ("a subnet over another's", [lease("node3", "10.244.2.128/25")], "belongs to another node", "node3"),
    ("a subnet over ours", [lease("node3", "10.244.0.0/23")], "belongs to another node", "node3"),
    ("the default route", [lease("node3", "0.0.0.0/0")], "outside the pod network", "node3"),
    ("wider than the pods", [lease("node3", "10.244.0.0/15")], "outside the pod network", "node3"),
    ("the underlay", [lease("node3", "172.30.0.0/16")], "outside the pod network", "node3"),
    ("our public address", [lease("node3", address="172.30.1.1")], "this node's own", "node3"),
    ("a pod's address as public address", [lease("node3", address="10.244.1.9")], "inside the pod network", "node3"),
    ("our MAC address", [lease("node3", mac=LOCAL.vtep_mac)], "is that of node1", "node3"),
    (
        "another's MAC address",
        [lease("node3", mac=FOURTH.vtep_mac), FOURTH],
        "is that of node4",
        "node3",
    ),
    ("the MAC address of the first by name", [lease("node3", mac=REMOTE.vtep_mac)], "is that of node2", "node3"),
]


@pytest.mark.parametrize(("what", "others", "reason", "left_out"), RIVALS)
def test_a_lease_cannot_take_what_another_has(what: str, others: list[vxlan.VxlanLease], reason: str, left_out: str):
    """It is left out alone, and nobody else is for its sake (S2; flannel logs it and goes on with the next)."""
    overlay = vxlan.overlay("lab", LOCAL, [REMOTE, *others], pods="10.244.0.0/16")

    assert [left_out] == [problem.node for problem in overlay.ignored], what
    assert reason in overlay.ignored[0].reason
    assert {"node2", *(o.node for o in others)} - {left_out} == overlay.state.fragments.keys()


ANNOTATIONS = vxlan.lease_annotations("172.30.1.2", "02:00:00:00:00:02")


def test_annotations_are_flannels():
    """The keys and the JSON are those that flanneld writes (semantics 2.8)."""
    expected = {
        "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}',
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        "flannel.alpha.coreos.com/kube-subnet-manager": "true",
        "flannel.alpha.coreos.com/public-ip": "172.30.1.2",
    }

    assert expected == ANNOTATIONS


def test_lease_survives_the_node_object():
    """What one node writes another reads."""
    assert REMOTE == vxlan.parse_lease("node2", "10.244.2.0/24", ANNOTATIONS, Family.IPV4)


def test_overwritten_public_address_wins():
    """An administrator's public-ip-overwrite goes before public-ip (semantics 2.8)."""
    annotations = {**ANNOTATIONS, leases.PUBLIC_IP_OVERWRITE: "172.30.9.9"}
    lease = vxlan.parse_lease("node2", "10.244.2.0/24", annotations, Family.IPV4)

    assert isinstance(lease, vxlan.VxlanLease)
    assert "172.30.9.9" == lease.public_ip


PROBLEMS = [
    ("", {}, "no spec.podCIDR"),
    ("10.244.2.0/24", {leases.BACKEND_TYPE: ""}, "not announced"),
    ("10.244.2.0/24", {leases.KUBE_SUBNET_MANAGER: ""}, "not announced"),
    ("10.244.2.0/24", {leases.BACKEND_TYPE: "host-gw"}, "backend is 'host-gw'"),
    ("10.244.2.0/24", {vxlan.BACKEND_DATA: "null"}, "not a short JSON object"),
    ("10.244.2.0/24", {vxlan.BACKEND_DATA: "{"}, "not a short JSON object"),
    ("10.244.2.0/24", {vxlan.BACKEND_DATA: "[" * 100_000}, "not a short JSON object"),
    ("10.244.2.0/24", {vxlan.BACKEND_DATA: "[" * 1000}, "not a short JSON object"),
    *(
        ("10.244.2.0/24", {vxlan.BACKEND_DATA: json.dumps({"VNI": vni, "VtepMAC": "02:00:00:00:00:02"})}, "VNI in annotation")
        for vni in (0, -1, 1 << 24, 10**400, "1", True, None, [1])
    ),
    *(
        ("10.244.2.0/24", {vxlan.BACKEND_DATA: json.dumps({"VtepMAC": mac})}, "MAC address")
        for mac in ("ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "01:00:5e:00:00:01", "02:00:00:00:00:02\n", 5, None)
    ),
    *(
        ("10.244.2.0/24", {leases.PUBLIC_IP: address}, "cannot be used")
        for address in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "172.30.1.2; x", "::1")
    ),
    ("10.244.2.0/24\n", {}, "cannot be used"),
    ("10.244.2.0/24", {vxlan.BACKEND_DATA: json.dumps({"VtepMAC": "02:00"})}, "not a MAC address"),
    ("10.244.2.0/24", {leases.PUBLIC_IP: "localhost"}, "cannot be used"),
    ("10.244.2.1/24", {}, "cannot be used"),
]


@pytest.mark.parametrize(("subnet", "changes", "reason"), PROBLEMS)
def test_unusable_lease_says_why(subnet: str, changes: dict[str, str], reason: str):
    """A node whose lease cannot be used is ignored with a reason (semantics 2.11), never an exception."""
    problem = vxlan.parse_lease("node2", subnet, {**ANNOTATIONS, **changes}, Family.IPV4)

    assert isinstance(problem, leases.Problem)
    assert reason in problem.reason


def test_mac_is_kept():
    """A restarted agent takes its MAC from the annotation (semantics 2.9); the first time it is made from names."""
    assert "02:00:00:00:00:02" == vxlan.vtep_mac("lab", "node2", ANNOTATIONS)
    assert vxlan.vtep_mac("lab", "node2", {}) == vxlan.vtep_mac("lab", "node2", {vxlan.BACKEND_DATA: "[]"})
