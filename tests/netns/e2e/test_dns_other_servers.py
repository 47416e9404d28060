"""spec.dns in a running lab: servers on clients answer what the lab does not know (semantics 11.25)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dns.message
import dns.query
import dns.rcode
import pytest

from netlab.dataplane.names import host_namespace, namespace_path
from netlab.dns.server import DnsServer
from netlab.dns.zone import Zone
from netlab.kernel.namespaces import inside

pytestmark = pytest.mark.netns

LAB = """\
apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: x}
spec:
  nodes: 2
  clients: [{name: up}, {name: stub}]
  dns: {upstream: [up], stubDomains: {corp.example: [203.0.113.11]}, ttl: 7, podRecords: disabled}
---
{apiVersion: v1, kind: Pod, metadata: {name: inside}, spec: {containers: [{name: c, image: registry.k8s.io/pause}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: outside}, spec: {dnsPolicy: Default,
  containers: [{name: c, image: registry.k8s.io/pause}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: far}, spec: {type: ExternalName, externalName: www.example.org}}
"""
NAMES = {"up": ("203.0.113.10", "192.0.2.80 www.example.org\n"), "stub": ("203.0.113.11", "192.0.2.81 a.corp.example\n")}


@contextmanager
def dns_servers(lab: str) -> Iterator[None]:
    """Run a DNS server on each client, in a thread of its own."""
    ready, loop, over = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        servers = []
        for client, (address, text) in NAMES.items():
            server = DnsServer(lambda text=text: Zone.outside(text))
            with inside(namespace_path(host_namespace(lab, client))):
                await server.start(address)
            servers.append(server)
        ready.set()
        await over.wait()
        for server in servers:
            await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def test_names_of_other_servers(lab, tmp_path):
    """Inside the cluster both are asked, ExternalName included; the node's resolver asks the upstream alone."""
    file = tmp_path / "lab.yaml"
    file.write_text(LAB)
    lab.up(file)
    asked = [(who, name) for who in ("inside", "outside", "node1") for name in ("www.example.org", "a.corp.example", "far", "up")]
    with dns_servers(lab.name):
        found = {ask: lab.exec(ask[0], "getent", "ahostsv4", ask[1], check=None).stdout.split()[:1] for ask in asked}
    refused = lab.exec("inside", "getent", "ahostsv4", "www.example.org", check=None)
    with inside(namespace_path(host_namespace(lab.name, "node1"))):
        service, of_pod = (dns.query.udp(dns.message.make_query(f"{name}.cluster.local.", "A"), "10.96.0.10", timeout=5)
                           for name in ("kubernetes.default.svc", "10-244-1-2.default.pod"))  # fmt: skip

    assert service.answer[0].ttl == 7
    assert of_pod.rcode() == dns.rcode.NXDOMAIN

    assert {ask: addresses[0] for ask, addresses in found.items() if addresses} == {
        ("inside", "www.example.org"): "192.0.2.80",
        ("inside", "a.corp.example"): "192.0.2.81",
        ("inside", "far"): "192.0.2.80",
        ("inside", "up"): "203.0.113.10",
        ("outside", "www.example.org"): "192.0.2.80",
        ("outside", "up"): "203.0.113.10",
        ("node1", "www.example.org"): "192.0.2.80",
        ("node1", "up"): "203.0.113.10",
    }
    assert refused.returncode == 2
