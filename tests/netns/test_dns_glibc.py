"""The DNS server asked by the machine's own resolver, with the resolv.conf that a pod gets."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netlab.api.cluster import Namespace
from netlab.api.discovery import Endpoint, EndpointSlice
from netlab.api.meta import ObjectMeta
from netlab.api.services import Service, ServicePort, ServiceSpec
from netlab.dataplane.state import Address, Operation, Verb
from netlab.dns.resolver import resolv_conf
from netlab.dns.server import DnsServer
from netlab.dns.zone import Zone
from netlab.kernel.linux import LinuxKernel

pytestmark = pytest.mark.netns

DNS = "10.96.0.10"
IN_A_MOUNT_NAMESPACE = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"')


def service(name: str, **spec) -> Service:
    return Service(metadata=ObjectMeta(name=name, namespace="default"), spec=ServiceSpec(**spec))


def zone() -> Zone:
    port = (ServicePort(port=80, name="http"),)
    services = [
        service("blue", cluster_ip="10.96.0.20", ports=port),
        service("web", cluster_ip="None", ports=port),
        service("many", cluster_ip="None", ports=port),
        service("ext", type="ExternalName", external_name="db.example.com"),
    ]
    slices = [
        EndpointSlice(
            metadata=ObjectMeta(name=name, namespace="default", labels={"kubernetes.io/service-name": name}),
            endpoints=tuple(Endpoint(addresses=(f"10.244.{n // 200}.{n % 200 + 2}",)) for n in range(count)),
        )
        for name, count in (("web", 3), ("many", 300))
    ]
    namespaces = [Namespace(metadata=ObjectMeta(name="default"))]
    return Zone.build("cluster.local", services, slices, namespaces, node_hosts_text="203.0.113.10 client db.example.com\n")


@pytest.fixture
def ask(linux: LinuxKernel, make_namespace: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[..., list[str]]]:
    """Run a command where the server is, with a pod's resolv.conf; return its lines."""
    path = make_namespace("dns")
    linux.perform(path, [Operation(Verb.ADD, Address("lo", f"{DNS}/32"))])
    loop, server = asyncio.new_event_loop(), DnsServer(zone)
    with linux.inside(path):
        loop.run_until_complete(server.start(DNS))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    conf = tmp_path / "resolv.conf"
    conf.write_text(resolv_conf("ClusterFirst", None, namespace="default", domain="cluster.local", dns_ip=DNS, node_resolv=""))

    def run(*command: str) -> list[str]:
        with linux.inside(path):
            done = subprocess.run([*IN_A_MOUNT_NAMESPACE, str(conf), *command], capture_output=True, text=True, check=False)
        return done.stdout.splitlines()

    yield run
    asyncio.run_coroutine_threadsafe(server.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


ADDRESSES = [
    ("11.23 in its namespace", "blue", {"10.96.0.20"}),
    ("11.23 with the namespace", "blue.default", {"10.96.0.20"}),
    ("11.23 with svc", "blue.default.svc", {"10.96.0.20"}),
    ("11.23 whole", "blue.default.svc.cluster.local", {"10.96.0.20"}),
    ("11.24 trailing dot", "blue.default.svc.cluster.local.", {"10.96.0.20"}),
    ("11.24 short name with a dot", "blue.", set()),
    ("headless", "web", {"10.244.0.2", "10.244.0.3", "10.244.0.4"}),
    ("ExternalName", "ext", {"203.0.113.10"}),
    ("a host of the lab", "client", {"203.0.113.10"}),
    ("11.24 an external name that exists", "db.example.com", {"203.0.113.10"}),
    ("nobody", "nobody", set()),
    ("not ours", "www.example.org", set()),
]


@pytest.mark.parametrize(("why", "name", "expected"), ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_dns_glibc_addresses(ask, why, name, expected):
    """A name in a pod means what it means in a cluster."""
    found = {line.split()[0] for line in ask("getent", "ahostsv4", name)}

    assert expected == found, why


def test_dns_glibc_both_families(ask):
    """A question for both families is answered by the IPv4 address alone: AAAA is NODATA (semantics 18.15)."""
    assert {"10.96.0.20"} == {line.split()[0] for line in ask("getent", "ahosts", "blue")}


def test_dns_glibc_truncation_leads_to_tcp(ask):
    """An answer too large for a datagram arrives whole: the resolver asks again by TCP (semantics 11.26)."""
    assert 300 == len({line.split()[0] for line in ask("getent", "ahostsv4", "many")})


def test_dns_glibc_reverse(ask):
    """An address of a Service has the Service's name (semantics 11.7)."""
    assert ["10.96.0.20      blue.default.svc.cluster.local"] == ask("getent", "hosts", "10.96.0.20")


@pytest.mark.parametrize("tcp", [False, True])
def test_dns_both_transports(ask, tcp):
    """A resolver that asks over either transport gets the answer (semantics 11.26)."""
    script = f"import dns.resolver as r; print(r.resolve('blue', 'A', search=True, tcp={tcp})[0])"

    assert ["10.96.0.20"] == ask(sys.executable, "-c", script)
