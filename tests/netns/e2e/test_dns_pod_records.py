"""spec.dns.podRecords: verified in a running lab (semantics 11.14)."""

from __future__ import annotations

import dns.message
import dns.query
import dns.rcode
import pytest

from netlab.dataplane.names import host_namespace, namespace_path
from netlab.kernel.namespaces import inside

pytestmark = pytest.mark.netns

LAB = """\
{apiVersion: netlab/v1alpha1, kind: Lab, metadata: {name: x}, spec: {nodes: 2, dns: {podRecords: verified}}}
"""
POD = """\
---
{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {nodeName: node1, containers: [{name: c, image: registry.k8s.io/pause}]}}
"""
RECORDS = ("10-244-1-2.default.pod", "10-244-1-2.kube-system.pod", "10-244-1-3.default.pod")


def asked(lab, node: str) -> list[str]:
    """Return what a node's DNS server says of each record: an address, or the code of its answer."""
    found = []
    with inside(namespace_path(host_namespace(lab.name, node))):
        for name in RECORDS:
            answer = dns.query.udp(dns.message.make_query(f"{name}.cluster.local.", "A"), "10.96.0.10", timeout=5)
            found.append(str(answer.answer[0][0]) if answer.answer else dns.rcode.to_text(answer.rcode()))
    return found


def test_verified_records_follow_the_pods(lab, tmp_path):
    """A pod's record exists on every node while the pod does, in its own namespace; `up` returns when all nodes know it."""
    file = tmp_path / "lab.yaml"
    file.write_text(LAB + POD)
    lab.up(file)
    there = [asked(lab, node) for node in ("node1", "node2")]
    file.write_text(LAB)
    lab.up(file)
    gone = [asked(lab, node) for node in ("node1", "node2")]

    assert [["10.244.1.2", "NXDOMAIN", "NXDOMAIN"]] * 2 == there
    assert [["NXDOMAIN"] * 3] * 2 == gone
