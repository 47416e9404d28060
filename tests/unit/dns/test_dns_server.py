from __future__ import annotations

import asyncio
import socket

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netlab.api.cluster import Namespace
from netlab.api.discovery import Endpoint, EndpointPort, EndpointSlice
from netlab.api.meta import ObjectMeta
from netlab.api.services import Service, ServicePort, ServiceSpec
from netlab.dns.bulk import BulkSet, address_record, service_record
from netlab.dns.messages import respond_to
from netlab.dns.server import LIMITS, DnsLimits, DnsServer, Responder, cache_key
from netlab.dns.zone import Zone

D = "default.svc.cluster.local"


def service(name: str, ip: str, port: int = 80) -> Service:
    spec = ServiceSpec(cluster_ip=ip, ports=(ServicePort(port=port, name="http"),))
    return Service(metadata=ObjectMeta(name=name, namespace="default"), spec=spec)


def build(ip: str = "10.96.0.20") -> Zone:
    endpoints = tuple(Endpoint(addresses=(f"10.244.{n // 250}.{n % 250 + 1}",)) for n in range(500))
    meta = ObjectMeta(name="many-x", namespace="default", labels={"kubernetes.io/service-name": "many"})
    slices = [EndpointSlice(metadata=meta, endpoints=endpoints, ports=(EndpointPort(port=1, name="http"),))]
    services = [service("blue", ip), service("many", "None"), service("two", "None")]
    two = ObjectMeta(name="two-x", namespace="default", labels={"kubernetes.io/service-name": "two"})
    slices.append(EndpointSlice(metadata=two, endpoints=endpoints[:2]))
    return Zone.build("cluster.local", services, slices, [Namespace(metadata=ObjectMeta(name="default"))])


ZONE = build()


def query(name: str = f"blue.{D}", kind: str = "A", **options) -> dns.message.Message:
    return dns.message.make_query(name, kind, **options)


def ask(message: dns.message.Message, zone: Zone | None = ZONE, *, stream: bool = False) -> dns.message.Message:
    wire = Responder(lambda: zone).answer(message.to_wire(), stream=stream)
    assert wire is not None
    return dns.message.from_wire(wire)


def chaos() -> dns.message.Message:
    return query("version.bind", "TXT", rdclass=dns.rdataclass.CH)


def update() -> dns.message.Message:
    message = query()
    message.set_opcode(dns.opcode.NOTIFY)
    return message


def version_1() -> dns.message.Message:
    message = query()
    message.use_edns(1)
    return message


def two_questions() -> dns.message.Message:
    message = query()
    message.question.append(query(f"two.{D}").question[0])
    return message


RCODES = [
    ("answer", query(), dns.rcode.NOERROR),
    ("11.17 AXFR", query("cluster.local", "AXFR"), dns.rcode.REFUSED),
    ("11.17 IXFR", query("cluster.local", "IXFR"), dns.rcode.REFUSED),
    ("class CH", chaos(), dns.rcode.REFUSED),
    ("class ANY", query(rdclass=dns.rdataclass.ANY), dns.rcode.REFUSED),
    ("not ours", query("example.org"), dns.rcode.NXDOMAIN),
    ("another operation", update(), dns.rcode.NOTIMP),
    ("EDNS version 1", version_1(), dns.rcode.BADVERS),
    ("two questions", two_questions(), dns.rcode.FORMERR),
]


@pytest.mark.parametrize(("why", "message", "expected"), RCODES, ids=[row[0] for row in RCODES])
def test_dns_server_rcodes(why, message, expected):
    """What is not an ordinary query gets the code that says so."""
    wire = respond_to(message.to_wire(), ZONE).wire
    response = dns.message.from_wire(wire, ignore_trailing=True)

    assert (expected, message.id, True) == (response.rcode(), response.id, bool(response.flags & dns.flags.QR)), why


def test_dns_server_fails_until_synced():
    """Without a zone the answer is SERVFAIL, so that the asker comes back (semantics 11.17)."""
    assert dns.rcode.SERVFAIL == ask(query(), None).rcode()


def test_dns_server_flags():
    """Answers are authoritative, repeat RD, and offer no recursion (semantics 11.16)."""
    flags = ask(query()).flags

    assert (True, True, False) == tuple(bool(flags & flag) for flag in (dns.flags.AA, dns.flags.RD, dns.flags.RA))


SILENCE = [b"", b"\0" * 11, ask(query()).to_wire()]


@pytest.mark.parametrize("message", SILENCE, ids=["empty", "short", "a response"])
def test_dns_server_silence(message):
    """Too little, or a response, is not answered."""
    assert respond_to(message, ZONE) is None


BROKEN = [
    query().to_wire()[:-1],
    query().to_wire() + b"x",
    b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1",
    b"\x12\x34\x01\x00" + bytes(8),
]


@pytest.mark.parametrize("message", BROKEN, ids=["cut", "trailing", "pointer loop", "no question"])
def test_dns_server_formerr(message):
    """A query that cannot be read is FORMERR with its own id."""
    response = respond_to(message, ZONE).wire

    assert (message[:2], dns.rcode.FORMERR) == (response[:2], response[3] & 0xF)


SIZES = [
    ("no EDNS", {}, 512, True),
    ("tiny EDNS", {"use_edns": 0, "payload": 100}, 512, True),
    ("EDNS 1232", {"use_edns": 0, "payload": 1232}, 1232, True),
    ("EDNS beyond our limit", {"use_edns": 0, "payload": 65535}, 4096, True),
]


@pytest.mark.parametrize(("why", "options", "size", "truncated"), SIZES, ids=[row[0] for row in SIZES])
def test_dns_server_truncation(why, options, size, truncated):
    """A datagram is filled with as many records as fit, and TC set (semantics 11.26)."""
    wire = respond_to(query(f"many.{D}", **options).to_wire(), ZONE).wire
    response = dns.message.from_wire(wire)

    assert (True, truncated) == (size - 48 < len(wire) <= size, bool(response.flags & dns.flags.TC)), why


def test_dns_server_stream_has_everything():
    """Over TCP the answer is whole (semantics 11.26)."""
    response = ask(query(f"many.{D}"), stream=True)

    assert (500, False) == (len(response.answer[0]), bool(response.flags & dns.flags.TC))


def test_dns_server_additional_is_optional():
    """Additional records that do not fit are left out without TC: the answer is whole without them."""
    wire = respond_to(query(f"_http._tcp.blue.{D}", "SRV").to_wire(), ZONE).wire

    assert 1 == len(dns.message.from_wire(wire).additional)


@pytest.mark.parametrize(("name", "expected"), [("example.org", [dns.edns.EDECode.NO_REACHABLE_AUTHORITY]), (f"none.{D}", [])])
def test_dns_server_explains_foreign_names(name, expected):
    """An asker that speaks EDNS learns why a foreign name does not exist (RFC 8914); the zone's own need no reason."""
    response = ask(query(name, use_edns=0))

    assert expected == [option.code for option in response.options]


@pytest.mark.parametrize("want_dnssec", [False, True])
def test_dns_server_repeats_do(want_dnssec):
    """The DO bit is repeated (RFC 3225)."""
    assert want_dnssec is bool(ask(query(want_dnssec=want_dnssec)).ednsflags & dns.flags.DO)


def test_dns_server_kept_answers_have_the_new_id():
    """A kept response goes out under the id of its question."""
    responder = Responder(lambda: ZONE)
    ids = []
    for number in (1, 2, 3):
        message = query(id=number).to_wire()
        ids.append(dns.message.from_wire(responder.answer(message)).id)

    assert [1, 2, 3] == ids


def test_dns_server_turns_the_order():
    """The addresses of a headless Service come in another order each time (semantics 11.27)."""
    responder = Responder(lambda: ZONE)
    message = query(f"two.{D}").to_wire()
    firsts = [dns.message.from_wire(responder.answer(message)).answer[0][0].address for _ in range(4)]

    assert ["10.244.0.1", "10.244.0.2"] * 2 == firsts


def test_dns_server_forgets_answers_of_an_old_zone():
    """An update is seen by the next question."""
    responder = Responder(lambda: ZONE)
    message = query().to_wire()
    responder.answer(message)
    responder.update(build("10.96.0.99"))

    assert "10.96.0.99" == dns.message.from_wire(responder.answer(message)).answer[0][0].address


def test_dns_server_table_is_bounded():
    """Random names do not fill the memory."""
    responder = Responder(lambda: ZONE, most_answers=10)
    for number in range(50):
        responder.answer(query(f"x{number}.{D}").to_wire())

    assert len(responder._answers) <= 10


def with_cookie(value: bytes) -> bytes:
    return query(use_edns=0, options=[dns.edns.GenericOption(10, value)]).to_wire()


KEYS = [
    ("ids", query(id=1).to_wire(), query(id=2).to_wire(), True),
    ("cookies", with_cookie(b"12345678"), with_cookie(b"abcdefgh"), True),
    ("case", query("BLUE." + D).to_wire(), query().to_wire(), False),
    ("type", query(kind="AAAA").to_wire(), query().to_wire(), False),
    ("EDNS", query(use_edns=0).to_wire(), query().to_wire(), False),
    ("EDNS size", query(use_edns=0, payload=600).to_wire(), query(use_edns=0, payload=700).to_wire(), False),
    ("DO", query(use_edns=0).to_wire(), query(want_dnssec=True, payload=1232).to_wire(), False),
    ("RD", query(flags=0).to_wire(), query().to_wire(), False),
]


@pytest.mark.parametrize(("why", "one", "other", "same"), KEYS, ids=[row[0] for row in KEYS])
def test_dns_server_key(why, one, other, same):
    """What may change the answer is in the key, what may not is not."""
    assert same is (cache_key(one) == cache_key(other)), why


UNUSUAL = [
    b"",
    query().to_wire() + b"x",
    query(use_edns=0).to_wire() + b"x",
    two_questions().to_wire(),
    b"\0" * 16,
    query().to_wire()[:20],
]


@pytest.mark.parametrize("message", UNUSUAL)
def test_dns_server_keeps_plain_queries_only(message):
    """Answers to anything unusual are not kept."""
    assert cache_key(message) is None


FUZZ = Responder(lambda: ZONE)
PLAIN = query(use_edns=0).to_wire()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda tail: PLAIN[:12] + tail)))
def test_dns_server_survives_any_bytes(message):
    """No bytes are an exception; whatever is answered has the asker's id and is a response."""
    wire = FUZZ.answer(message)

    assert wire is None or (message[:2], True) == (wire[:2], bool(wire[2] & 0x80))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(PLAIN) - 1), st.integers(0, 255), st.integers(0, len(PLAIN)))
def test_dns_server_survives_mutations(position, value, length):
    """A query with a wrong byte or a missing end is no exception, and answered as without the table of answers."""
    message = (PLAIN[:position] + bytes((value,)) + PLAIN[position + 1 :])[: length or None]
    fresh = respond_to(message, ZONE)
    FUZZ.answer(message)
    kept = FUZZ.answer(message)

    assert kept == (None if fresh is None else message[:2] + fresh.wire[2:])


# ---- over sockets, on loopback
@pytest.fixture
async def running(request):
    server = DnsServer(lambda: ZONE, getattr(request, "param", LIMITS))
    await server.start("127.0.0.1", 0)
    yield server
    await server.close()


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


async def read_frame(reader: asyncio.StreamReader) -> dns.message.Message:
    return dns.message.from_wire(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))


async def test_dns_server_over_udp(running):
    """A datagram is answered with a datagram, also after an unreadable one."""

    def client() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as junk:
            junk.sendto(b"junk", ("127.0.0.1", running.port))
        return str(dns.query.udp(query(), "127.0.0.1", timeout=5, port=running.port).answer[0])

    assert f"blue.{D}. 30 IN A 10.96.0.20" == await asyncio.to_thread(client)


async def test_dns_server_tcp_pipelining(running):
    """Questions sent together are answered in order, byte by byte as well."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    stream = b"".join(frame(query(id=number).to_wire()) for number in (1, 2, 3))
    for byte in stream:
        writer.write(bytes((byte,)))
        await writer.drain()
    ids = [(await read_frame(reader)).id for _ in range(3)]
    writer.close()
    await writer.wait_closed()

    assert [1, 2, 3] == ids


@pytest.mark.parametrize("sent", [b"\0\0", b"\0\5junk!", b"\0"], ids=["empty", "junk", "silence"])
@pytest.mark.parametrize("running", [DnsLimits(idle_seconds=0.05)], indirect=True, ids=["impatient"])
async def test_dns_server_tcp_hangs_up(running, sent):
    """Junk and silence over TCP end the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(sent)
    async with asyncio.timeout(5):
        rest = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert b"" == rest


async def connect(source: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))


async def answered(client: tuple[asyncio.StreamReader, asyncio.StreamWriter], number: int) -> int:
    """Ask, and return the id of the answer, 0 when the server hung up."""
    try:
        client[1].write(frame(query(id=number).to_wire()))
        async with asyncio.timeout(5):
            return (await read_frame(client[0])).id
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0


@pytest.mark.parametrize(
    ("total", "per_client", "sources", "expected"),
    [
        (8, 2, "aaa", [0, 2, 3]),
        (8, 2, "aaab", [0, 2, 3, 4]),
        (8, 2, "abababa", [0, 0, 0, 4, 5, 6, 7]),
        (3, 2, "abcd", [0, 2, 3, 4]),
        (3, 2, "aabb", [0, 2, 3, 4]),
    ],
    ids=["of one client", "another client", "two clients", "of all", "of all, one client more"],
)
async def test_dns_server_tcp_connection_limits(total, per_client, sources, expected):
    """A client beyond a bound loses its oldest connection, others keep theirs (M8): the newest question is answered."""
    server = DnsServer(lambda: ZONE, DnsLimits(connections=total, per_client=per_client))
    await server.start("127.0.0.1", 0)
    clients, first = [], []
    for number, source in enumerate(sources, start=1):
        clients.append(await connect(f"127.0.0.{ord(source)}", server.port))
        first.append(await answered(clients[-1], number))
    again = [await answered(client, number) for number, client in enumerate(clients, start=1)]
    for _, writer in clients:
        writer.close()
    await server.close()

    assert list(range(1, len(sources) + 1)) == first
    assert expected == again


async def test_dns_server_tcp_idle_clients_do_not_keep_others_out(running):
    """One address with 300 idle connections, more than there are for all: another client is served at once."""
    idle = [await connect("127.0.0.2", running.port) for _ in range(300)]
    other = await connect("127.0.0.3", running.port)
    number = await answered(other, 7)
    for _, writer in [*idle, other]:
        writer.close()

    assert 7 == number


async def test_dns_server_tcp_pipelining_keeps_nobody_waiting(running):
    """A client that sends 2,000 questions at once has its turn after each answer: a question over UDP comes in between."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(b"".join(frame(query(id=number).to_wire()) for number in range(1, 2001)))
    first = (await read_frame(reader)).id
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.setblocking(False)
        datagrams.connect(("127.0.0.1", running.port))
        datagrams.send(query(id=77).to_wire())
        answer = dns.message.from_wire(await loop.sock_recv(datagrams, 512))
    waiting = len(reader._buffer)
    rest = [(await read_frame(reader)).id for _ in range(1999)]
    writer.close()

    assert (1, 77) == (first, answer.id)
    assert waiting < 1900 * 50  # bytes; all answers would be twice as many
    assert list(range(2, 2001)) == rest


async def ask_for_ever(line: socket.socket, questions: bytes) -> None:
    while True:
        try:
            line.send(questions)
        except BlockingIOError:
            await asyncio.sleep(0.01)


async def test_dns_server_tcp_hangs_up_on_a_client_that_does_not_read():
    """It does not keep its connection, nor what it is due, for longer than the idle time."""
    server = DnsServer(lambda: ZONE, DnsLimits(idle_seconds=0.2))
    await server.start("127.0.0.1", 0)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", server.port))
        line.setblocking(False)
        many = frame(query(f"many.{D}").to_wire())
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionError):
                await ask_for_ever(line, 100 * many)
        left = len(server._connections)
    await server.close()

    assert 0 == left


# ---- many records
@pytest.mark.parametrize(("name", "kind"), [(f"many.{D}", "A"), (f"_http._tcp.many.{D}", "SRV"), (f"many.{D}", "ANY")])
@pytest.mark.parametrize("stream", [False, True])
def test_dns_server_cost_of_many_records_is_bounded(name, kind, stream):
    """Another spelling of a name makes no record again, and no more records than fit are rendered (M8)."""
    responder = Responder(lambda: ZONE)
    responder.answer(query(name, kind).to_wire(), stream=stream)
    made = (address_record.cache_info().misses, service_record.cache_info().misses)
    answer = dns.message.from_wire(responder.answer(query(name.upper(), kind).to_wire(), stream=stream))

    assert made == (address_record.cache_info().misses, service_record.cache_info().misses)
    assert (500 if stream else 0) <= len(answer.answer[0]) <= (500 if stream else 32)


@pytest.mark.parametrize("count", [1, 2, 31, 32, 499, 500])
def test_bulk_sets_are_the_bytes_that_dnspython_writes(count):
    """A set of many records is rendered as dnspython renders each record."""
    name = dns.name.from_text(f"Many.{D}.")
    records = [address_record(f"10.0.{n // 256}.{n % 256}") for n in range(count)]
    bulk, plain = dns.message.Message(1), dns.message.Message(1)
    for message in (bulk, plain):
        message.question = [dns.rrset.from_text(name, 0, "IN", "A")]
    bulk.answer = [BulkSet(name, 30, records)]
    plain.answer = [dns.rrset.from_rdata_list(name, 30, [record.rdata for record in records])]

    assert plain.to_wire(want_shuffle=False) == bulk.to_wire(want_shuffle=False)
    assert count == len(list(bulk.answer[0])) == len(bulk.answer[0])


def test_dns_server_over_tcp_keeps_as_many_records_as_fit():
    """5,000 addresses take more than a message over TCP: as many as fit are given, and TC is set."""
    endpoints = tuple(Endpoint(addresses=(f"10.{n // 60000}.{n // 250 % 240}.{n % 250 + 1}",)) for n in range(5000))
    meta = ObjectMeta(name="huge-x", namespace="default", labels={"kubernetes.io/service-name": "huge"})
    pieces = [EndpointSlice(metadata=meta, endpoints=endpoints)]
    zone = Zone.build("cluster.local", [service("huge", "None")], pieces, [Namespace(metadata=ObjectMeta(name="default"))])
    answer = ask(query(f"huge.{D}"), zone, stream=True)

    assert answer.flags & dns.flags.TC
    assert 4085 < len(answer.answer[0]) < 4096


async def test_dns_server_says_when_the_port_is_taken(running):
    """A second server on the same address fails to start."""
    with pytest.raises(OSError, match="in use"):
        await DnsServer(lambda: None).start("127.0.0.1", running.port)
