"""spec.dns: names that other servers of the lab are asked about (semantics 11.25), with such servers on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest
from dns.rdatatype import RdataType

from netlab.api.cluster import Namespace
from netlab.api.lab import LabDns
from netlab.api.meta import ObjectMeta
from netlab.api.services import Service, ServiceSpec
from netlab.dns.forwarding import Forwarding
from netlab.dns.server import LIMITS, DnsLimits, DnsServer
from netlab.dns.upstream import ANSWER_SECONDS, ask
from netlab.dns.zone import Zone

UP, STUB, INNER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
SILENT = "127.0.0.5"
SPEC = LabDns(
    upstream=("client",),
    stub_domains={"corp.example": (STUB,), "local": (STUB,), "x.corp.example": ("nobody", INNER), "9.10.in-addr.arpa": (STUB,)},
)
HOSTS = f"{UP} client db.corp.example www.lab.test\n"


def external(name: str, target: str) -> Service:
    meta = ObjectMeta(name=name, namespace="default")
    return Service(metadata=meta, spec=ServiceSpec(type="ExternalName", external_name=target))


SERVICES = (external("far", "www.example.org"), external("stub", "a.corp.example"), external("missing", "gone.example.org"))
DEFAULT = Namespace(metadata=ObjectMeta(name="default"))


def cluster(spec: LabDns) -> Zone:
    return Zone.build("cluster.local", SERVICES, [], [DEFAULT], node_hosts_text=HOSTS, forwarding=Forwarding.of(spec))


@pytest.mark.parametrize(
    ("name", "servers"),
    [
        ("www.example.org", (UP,)),
        ("WWW.Example.ORG", (UP,)),
        ("lab.test", (UP,)),  # above a host of the lab, which has no records of it
        ("8.8.8.8.in-addr.arpa", (UP,)),
        ("a.corp.example", (STUB,)),
        ("corp.example", (STUB,)),
        ("notcorp.example", (UP,)),
        ("a.x.corp.example", (INNER,)),  # the longest suffix; a server that no host is called is left out
        ("printer.local", (STUB,)),
        ("4.3.9.10.in-addr.arpa", (STUB,)),
        ("far.default.svc.cluster.local", (UP,)),
        ("db.corp.example", ()),  # a host of the lab
        ("nosuch.default.svc.cluster.local", ()),  # the cluster's zone is longer than `local`
        ("4.3.8.10.in-addr.arpa", ()),  # RFC 6303
    ],
)
def test_who_is_asked(name, servers):
    """The longest suffix decides among stub domains, the cluster's zone and the upstream; hosts of the lab are known."""
    forward = cluster(SPEC).answer(name, "A").forward

    assert servers == (forward.servers if forward else ())


def test_nobody_is_asked_by_default():
    """A lab without spec.dns asks no server."""
    assert cluster(LabDns()).answer("www.example.org", "A").forward is None


# ---- over sockets
MANY = "".join(f"203.0.113.{number} many.corp.example\n" for number in range(1, 255))


@asynccontextmanager
async def servers(spec: LabDns, limits: DnsLimits = LIMITS, seconds: float = ANSWER_SECONDS):
    """Run an upstream and a stub domain's server, and yield a cluster's that forwards to them."""
    zones = {UP: "203.0.113.80 www.example.org\n", STUB: f"203.0.113.81 a.corp.example\n{MANY}"}
    async with AsyncExitStack() as stack:
        port = 0
        for address, text in zones.items():
            other = DnsServer(lambda text=text: Zone.outside(text))
            await other.start(address, port)
            stack.push_async_callback(other.close)
            port = other.port
        zone = cluster(spec)
        ours = DnsServer(lambda: zone, limits, partial(ask, port=port, seconds=seconds))
        await ours.start("127.0.0.1", 0)
        stack.push_async_callback(ours.close)
        yield ours, port


async def asked(ours: DnsServer, name: str, *, tcp: bool = False) -> dns.message.Message:
    ask = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await ask(dns.message.make_query(name, "A", use_edns=0, payload=1232), "127.0.0.1", 10, ours.port)


@contextmanager
def silent(port: int) -> Iterator[None]:
    """A server that takes questions and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind((SILENT, port))
        yield


@pytest.mark.parametrize("tcp", [False, True])
async def test_answers_of_others(tcp):
    """Records, NXDOMAIN and aliases come through, over UDP and TCP; names of the lab are answered as ever."""
    async with servers(SPEC) as (ours, _):
        names = ("www.example.org", "a.corp.example", "nosuch.example.org", "far.default.svc.cluster.local",
                 "stub.default.svc.cluster.local", "missing.default.svc.cluster.local", "client")  # fmt: skip
        found = {name: await asked(ours, name, tcp=tcp) for name in names}
    said = {
        name.partition(".")[0]: (dns.rcode.to_text(message.rcode()), [str(r) for rrset in message.answer for r in rrset])
        for name, message in found.items()
    }

    assert said == {
        "www": ("NOERROR", ["203.0.113.80"]),
        "a": ("NOERROR", ["203.0.113.81"]),
        "nosuch": ("NXDOMAIN", []),
        "far": ("NOERROR", ["www.example.org.", "203.0.113.80"]),
        "stub": ("NOERROR", ["a.corp.example.", "203.0.113.81"]),
        "missing": ("NXDOMAIN", ["gone.example.org."]),
        "client": ("NOERROR", [UP]),
    }


async def test_a_large_answer():
    """11.26: what other servers truncate is asked of them over TCP; a datagram of ours has TC, TCP has all."""
    async with servers(SPEC) as (ours, _):
        short, whole = [await asked(ours, "many.corp.example", tcp=tcp) for tcp in (False, True)]

    assert short.flags & dns.flags.TC
    assert len(whole.answer[0]) == 254


async def test_servers_that_do_not_answer():
    """The next server is asked; when there is none, SERVFAIL says why. Other questions do not wait meanwhile."""
    spec = LabDns(upstream=(SILENT, UP), stub_domains={"corp.example": (SILENT,)})
    async with servers(spec, seconds=0.5) as (ours, port):
        with silent(port):
            second = asyncio.create_task(asked(ours, "www.example.org"))
            none = asyncio.create_task(asked(ours, "a.corp.example"))
            known = await asked(ours, "client")
            waited = second.done() or none.done()
            answers = [await second, await none]

    assert (known.rcode(), waited) == (dns.rcode.NOERROR, False)
    assert [dns.rcode.NOERROR, dns.rcode.SERVFAIL] == [answer.rcode() for answer in answers]
    assert "spec.dns" in str(answers[1].options[0])


async def test_questions_that_wait_are_bounded():
    """Beyond the bound a question gets SERVFAIL at once, so that a flood keeps no memory."""
    spec = LabDns(upstream=(SILENT,))
    async with servers(spec, DnsLimits(forwarded=2)) as (ours, port):
        with silent(port):
            tasks = [asyncio.create_task(asked(ours, f"www{number}.example.org")) for number in range(3)]
            done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()

    assert ([dns.rcode.SERVFAIL], 2) == ([task.result().rcode() for task in done], len(waiting))


def test_kinds_are_passed_on():
    """The type asked for is asked of others."""
    forward = cluster(SPEC).answer("example.org", "MX").forward

    assert forward is not None
    assert forward.kind == RdataType.MX
