"""The record proves the data plane by captured packets: VXLAN's outer header, and which source address is seen where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from labdriver import LabDriver

HERE = Path(__file__).parent
CLIENT = "203.0.113.10"


@pytest.fixture(scope="module")
def record():
    """The record of one test of one lab."""
    lab = LabDriver(f"e{os.getpid()}")
    try:
        lab.up(HERE / "faults.yaml")
        yield lab.test()
    finally:
        lab.down()


def hops(record, path, protocol="TCP", subject="", kept=None):
    """Return a check of a path class that has evidence, and its request's hops: at every device, in order."""
    for check in record["checks"]:
        named = (path, protocol, "ALLOWED") == (check["path"], check["protocol"], check["actual"])
        way = [h for h in record["evidence"].get(check["id"], []) if not h["answer"]]
        sources = {address(h["source"]) for h in way}
        if named and way and subject in check.get("subject", "") and kept in {None, len(sources) == 1}:
            return check, way
    pytest.fail(f"no evidence of {path} {protocol} {subject}")


def address(end):
    return end.partition(":")[0]


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "ICMP"])
def test_pod_to_pod_across_nodes(record, protocol):
    """Outside: the nodes' addresses, UDP 8472, VNI 1. Inside: the pods' own addresses, the same at every hop."""
    check, way = hops(record, "pod-pod-cross-node", protocol)
    outer = [h["outer"] for h in way if h["outer"]]

    assert outer
    assert {(8472, 1)} == {(o["port"], o["vni"]) for o in outer}
    assert 1 == len({(o["source"], o["destination"]) for o in outer})
    assert all(o["source"].startswith("172.30.1.") and o["destination"].startswith("172.30.1.") for o in outer)
    assert 1 == len({(address(h["source"]), address(h["destination"])) for h in way})
    assert check["expectedSources"][""] == check["sourcesSeen"] == [address(way[0]["source"])]


def test_pod_to_pod_on_a_node(record):
    """On one node nothing is encapsulated and nothing leaves by eth0 of the node."""
    _, way = hops(record, "pod-pod-same-node")

    assert {None} == {h["outer"] and h["outer"]["vni"] for h in way}
    assert not [h for h in way if h["where"].startswith("node") and h["where"].endswith(" eth0")]


def test_pod_to_cluster_ip_keeps_its_address(record):
    """The destination becomes a pod's, once; the source stays the pod's own."""
    check, way = hops(record, "pod-cluster-ip", kept=True)

    assert address(way[-1]["source"]) in check["sourcesSeen"]
    assert check["source"] == way[0]["where"].split()[0]
    assert "10.96." in way[0]["destination"]
    assert way[-1]["destination"].startswith("10.244.")
    assert 1 == sum(any(t.startswith("destination") for t in h["translated"]) for h in way)


def test_node_port_under_cluster(record):
    """The backend sees an address of the node that took the connection, not the client's."""
    check, way = hops(record, "outside-node-port", subject="default/cluster", kept=False)

    assert CLIENT == address(way[0]["source"])
    assert CLIENT not in check["sourcesSeen"]
    assert address(way[-1]["source"]) in {s for listed in check["expectedSources"].values() for s in listed}


def test_node_port_under_local(record):
    """The backend sees the client's own address."""
    paths = {"outside-node-port", "outside-load-balancer"}
    checks = [
        c for c in record["checks"]
        if c["path"] in paths and (c.get("subject"), c["source"]) == ("default/local", "client")
    ]  # fmt: skip

    assert [[CLIENT]] * 3 == [c["sourcesSeen"] for c in checks if c["actual"] == "ALLOWED"]
    _, way = hops(record, "outside-node-port", subject="default/local", kept=True)
    assert {CLIENT} == {address(h["source"]) for h in way}


def test_pod_egress(record):
    """Outside, a pod is seen by its node's address; inside its node by its own."""
    _, way = hops(record, "pod-outside")

    assert way[0]["source"].startswith("10.244.")
    assert way[-1]["source"].startswith("172.30.1.")
    assert way[-1]["where"].startswith(("client", "stranger"))
