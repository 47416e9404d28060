"""The parts of a node's network plane: what each wants, and how that differs from what is there."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from overlaynodes import LAB, node

from netlab.api import lab
from netlab.api.cluster import Node, NodeSpec
from netlab.api.lab import Lab
from netlab.api.meta import ObjectMeta
from netlab.api.resources import ENDPOINT_SLICES, SERVICES
from netlab.dataplane.flows import FlowFilter
from netlab.dataplane.state import Address, Link, NamespaceState, Operation, Route, Verb, Veth
from netlab.errors import InvalidValueError
from netlab.family import Family
from netlab.kernel.fake import FakeKernel
from netlab.overlay.backends import BACKENDS
from netlab.plane import OVERLAY, RULES, Masquerade, Overlay, ServiceProxy, View, Wanted, parts
from netlab.proxy.modes import MODES
from netlab.proxy.servicemap import build
from netlab.topology import fields

PATH = "/run/netns/lab-node1"
NODES = (node(1), node(2), node(3))


def with_pod_cidr(number: int, pod_cidr: str) -> Node:
    whole = node(number)
    return Node(metadata=whole.metadata, spec=NodeSpec(pod_cidr=pod_cidr), status=whole.status)


def services(*addresses: str):
    """One Service with a UDP port and these endpoints."""
    name = {"name": "dns", "namespace": "ns"}
    port = {"name": "dns", "port": 53, "protocol": "UDP"}
    labels = {"kubernetes.io/service-name": "dns"}
    endpoints = [{"addresses": [address], "nodeName": "node1"} for address in addresses]
    made = SERVICES.decode({"metadata": name, "spec": {"clusterIP": "10.96.0.1", "ports": [port]}})
    offered = {"metadata": {**name, "labels": labels}, "ports": [port], "endpoints": endpoints}
    return build([made], [ENDPOINT_SLICES.decode(offered)], NODES[0], Family.IPV4)


def test_the_overlay_is_kept_apart_and_the_tables_change_together():
    """Both tables are of one keeper, hence of one transaction."""
    expected = [("overlay", OVERLAY), ("masquerade", RULES), ("proxy", RULES)]

    assert expected == [(part.name, part.keeper) for part in parts(LAB)]


CIDRS = [
    pytest.param("", None, ["kube-proxy"], [], id="no podCIDR yet"),
    pytest.param("10.244.1.0/24", None, ["flannel-ipv4", "kube-proxy"], [], id="valid"),
    pytest.param("10.244.1.0/x", InvalidValueError, ["kube-proxy"], ["node node1"], id="bad"),
]


@pytest.mark.parametrize(("cidr", "raises", "tables", "refused"), CIDRS)
def test_own_pod_cidr(cidr: str, raises, tables: list[str], refused: list[str]):
    """Services need none; an invalid one leaves out flannel's table and fails the overlay."""
    view = View(with_pod_cidr(1, cidr))
    rules = [part.wanted(view) for part in (Masquerade(LAB, Family.IPV4), ServiceProxy(LAB, Family.IPV4))]

    assert tables == [table.table for wanted in rules for table in wanted.tables]
    assert refused == [name for wanted in rules for name in wanted.refused]
    if raises:
        with pytest.raises(raises):
            Overlay(LAB, Family.IPV4).wanted(view)
    else:
        assert bool(cidr) == (Overlay(LAB, Family.IPV4).wanted(view).state is not None)


def test_incomplete_nodes_are_awaited_and_wrong_ones_refused():
    """A node without podCIDR may get one; a subnet of another node's is wrong."""
    view = View(NODES[0], (*NODES, with_pod_cidr(4, ""), with_pod_cidr(5, "10.244.2.0/24")))
    wanted = Overlay(LAB, Family.IPV4).wanted(view)

    assert {"node node4": "it has no spec.podCIDR yet"} == wanted.awaited
    assert ["node node5"] == list(wanted.refused)
    assert wanted.state is not None
    assert ["node2", "node3"] == list(wanted.state.fragments)


DAMAGE = [
    pytest.param(None, "", id="as wanted"),
    pytest.param(
        Operation(Verb.DELETE, Route("10.244.3.0/24", "flannel.1", "10.244.3.0", onlink=True)),
        "ip route replace 10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink",
        id="a route is missing",
    ),
    pytest.param(
        Operation(Verb.SET, Address("flannel.1", "10.9.9.9/32")),
        "ip address delete 10.9.9.9/32 dev flannel.1",
        id="an address too many",
    ),
    pytest.param(Operation(Verb.SET, Address("eth0", "10.9.9.9/32")), "", id="another device"),
]


@pytest.mark.parametrize(("damage", "first"), DAMAGE)
def test_explain_says_which_commands_repair(damage: Operation | None, first: str):
    """It compares what belongs to the part, and nothing else."""
    kernel = FakeKernel()
    kernel.create_namespaces([PATH, "/run/netns/far"])
    kernel.perform(PATH, [Operation(Verb.ADD, Link("eth0", Veth("far", "/run/netns/far")))])
    wanted = Overlay(LAB, Family.IPV4).wanted(View(NODES[0], NODES))
    assert wanted.state is not None
    kernel.perform(PATH, wanted.state.difference(kernel.observe(PATH)))
    if damage:
        kernel.perform(PATH, [damage])

    assert first == next(iter(wanted.explain(kernel.observe(PATH))), "")


TABLES = [
    pytest.param(fields.RULES[lab.Backend, "type"], BACKENDS, id="spec.networking.backend.type"),
    pytest.param(fields.RULES[lab.Networking, "kubeProxyMode"], MODES, id="kubeProxyMode"),
]


@pytest.mark.parametrize(("rule", "table"), TABLES)
def test_a_topology_names_the_rows_of_the_tables(rule: fields.Rule, table: Mapping[str, object]):
    """What a file may say is what there is code for, and nothing else."""
    assert rule.values == tuple(table)


def test_a_part_without_state_has_nothing_to_explain():
    """It wants nothing yet."""
    assert () == Wanted().explain(NamespaceState(links=(Link("eth0"),)))


def test_flows_are_stale_by_services_alone():
    """The proxy forgets flows to an endpoint that is gone, or all where the rules are unknown."""
    before, now = View(NODES[0], services=services("10.244.1.5")), View(NODES[0], services=services())
    part = ServiceProxy(Lab(metadata=ObjectMeta(name="lab")), Family.IPV4)

    assert (FlowFilter("udp", "10.96.0.1", 53, "10.244.1.5"),) == part.stale_flows(before, now)
    assert (FlowFilter("udp", "10.96.0.1", 53),) == part.stale_flows(None, now)
    assert () == Overlay(LAB, Family.IPV4).stale_flows(None, now) + Masquerade(LAB, Family.IPV4).stale_flows(before, now)
