"""Recognising a probe's packets in captured frames, whatever is around them."""

from __future__ import annotations

import struct
from socket import inet_aton

import pytest

from netlab.probe.plan.checks import Encapsulation
from netlab.probe.report.evidence import changes, decode
from netlab.probe.run.capture import SNAP_LENGTH, kernel_filter
from netlab.probe.run.sockets import echo_request
from netlab.probe.run.wire import ANSWER_MARK, MARK, read, tcp_key

KEY = "0123456789abcdef"
ETHER = b"\x02" * 12 + b"\x08\x00"
SYN, SYN_ACK, RST_ACK, ACK = 0x02, 0x12, 0x14, 0x10
OUTER = Encapsulation("172.30.1.1", "172.30.1.2", 8472, 1)


def ip(protocol: int, body: bytes, source: str = "10.244.1.2", destination: str = "10.96.0.5") -> bytes:
    return (
        struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0)
        + inet_aton(source)
        + inet_aton(destination)
        + body
    )


def tcp(flags: int, sequence: int = 7, acknowledged: int = 0) -> bytes:
    return struct.pack("!HHIIBBHHH", 40000, 80, sequence, acknowledged, 0x50, flags, 1000, 0, 0)


def udp(payload: bytes, source: int = 40000, destination: int = 53) -> bytes:
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def vxlan(inner: bytes, vni: int = 1) -> bytes:
    header = b"\x08\0\0\0" + vni.to_bytes(3, "big") + b"\0"
    return ip(17, udp(header + ETHER + inner, 5555, 8472), OUTER.source, OUTER.destination)


def unreachable(quoted: bytes, code: int = 3) -> bytes:
    return ip(1, struct.pack("!BBHI", 3, code, 0, 0) + quoted, "172.30.1.1", "10.244.1.2")


QUESTION = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03Web\0\0\x01\0\x01"
ANSWER = b"\x12\x34\x81\x80" + QUESTION[4:]
DNS_KEY = "dns-1234-" + b"\x03web".hex()
PROBE = ip(17, udp(MARK + KEY.encode()))
ROWS = {
    "SYN": (ip(6, tcp(SYN)), (tcp_key(7), "SYN", False, None)),
    "SYN-ACK answers sequence + 1": (ip(6, tcp(SYN_ACK, 99, 8)), (tcp_key(7), "SYN-ACK", True, None)),
    "RST answers sequence + 1": (ip(6, tcp(RST_ACK, 0, 8)), (tcp_key(7), "RST", True, None)),
    "sequence numbers wrap": (ip(6, tcp(SYN_ACK, 1, 0)), (tcp_key(0xFFFFFFFF), "SYN-ACK", True, None)),
    "plain ACK": (ip(6, tcp(ACK)), None),
    "datagram": (PROBE, (KEY, "datagram", False, None)),
    "datagram's answer": (ip(17, udp(ANSWER_MARK + KEY.encode())), (KEY, "datagram", True, None)),
    "DNS question": (ip(17, udp(QUESTION)), (DNS_KEY, "DNS question", False, None)),
    "DNS answer": (ip(17, udp(ANSWER + b"more", 53, 40000)), (DNS_KEY, "DNS answer", True, None)),
    "ICMP error about a DNS question": (unreachable(ip(17, udp(QUESTION))), (DNS_KEY, "port unreachable", True, None)),
    "no DNS message on DNS' port": (ip(17, udp(b"x")), None),
    "foreign datagram": (ip(17, udp(b"hello", 5, 6)), None),
    "cut mark": (ip(17, udp(MARK + b"0123")), None),
    "echo request": (ip(1, echo_request(1, MARK + KEY.encode())), (KEY, "echo request", False, None)),
    "SYN in VXLAN": (vxlan(ip(6, tcp(SYN))), (tcp_key(7), "SYN", False, OUTER)),
    "datagram in VXLAN": (vxlan(PROBE), (KEY, "datagram", False, OUTER)),
    "port unreachable about a datagram": (unreachable(PROBE), (KEY, "port unreachable", True, None)),
    "network unreachable about a SYN": (unreachable(ip(6, tcp(SYN)), 0), (tcp_key(7), "network unreachable", True, None)),
    "error in VXLAN": (vxlan(unreachable(PROBE)), (KEY, "port unreachable", True, OUTER)),
    "other protocol": (ip(50, b"\0" * 40), None),
}


@pytest.mark.parametrize(("packet", "expected"), ROWS.values(), ids=ROWS)
def test_read(packet, expected):
    """A frame gives the probe's key, what it is, whether it is an answer, and the header around it."""
    found = read(ETHER + packet, 8472)

    assert expected == (found and (found.key, found.word, found.answer, found.outer))


@pytest.mark.parametrize("packet", [row[0] for row in ROWS.values()], ids=ROWS)
def test_cut_frames_do_no_harm(packet):
    """Every prefix of a frame is read without an error."""
    frame = ETHER + packet

    assert all(read(frame[:length], 8472) is None or length > 40 for length in range(len(frame)))


def run_filter(frame: bytes) -> int:
    """Interpret the classic BPF program, as the kernel does: a load beyond the end drops the packet."""
    program, at, register = kernel_filter(8472), 0, 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        if code in {0x28, 0x30}:
            size = 2 if code == 0x28 else 1
            if operand + size > len(frame):
                return 0
            register = int.from_bytes(frame[operand : operand + size], "big")
        elif code == 0x05:
            at += operand
        elif code == 0x06:
            return operand
        else:
            at += yes if (register == operand if code == 0x15 else register & operand) else no


@pytest.mark.parametrize(("packet", "expected"), ROWS.values(), ids=ROWS)
def test_kernel_filter_keeps_what_read_wants(packet, expected):
    """The filter in the kernel keeps every packet of a probe, and no plain ACK."""
    kept = run_filter(ETHER + packet)

    assert kept == SNAP_LENGTH if expected else packet != ROWS["plain ACK"][0] or kept == 0


def test_kernel_filter_drops_bulk():
    """TCP data inside and outside VXLAN, and what is not IPv4, never reach Python."""
    bulk = ip(6, tcp(ACK) + b"x" * 500)

    assert [0, 0, 0] == [run_filter(ETHER + bulk), run_filter(ETHER + vxlan(bulk)), run_filter(b"\x02" * 12 + b"\x86\xdd" + bulk)]


@pytest.mark.parametrize("port", [8472, 4789, 9999])
def test_decode_with_scapy(port):
    """Scapy reads outer addresses, port and VNI and the inner packet, on whatever port VXLAN is configured."""
    header = b"\x08\0\0\0" + (5).to_bytes(3, "big") + b"\0"
    frame = ETHER + ip(17, udp(header + ETHER + PROBE, 5555, port), "172.30.1.1", "172.30.1.2")
    hop = decode(frame, port)

    assert {"source": "172.30.1.1", "destination": "172.30.1.2", "port": port, "vni": 5} == hop["outer"]
    assert ("10.244.1.2:40000", "10.96.0.5:53") == (hop["source"], hop["destination"])


def test_changes_on_the_way():
    """Network address translation between two hops is named."""
    before, now = {"source": "a:1", "destination": "b:80"}, {"source": "a:1", "destination": "c:8080"}

    assert ["destination b:80 -> c:8080"] == changes(before, now)
