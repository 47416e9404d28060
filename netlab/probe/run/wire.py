"""Reads a captured frame just far enough to identify its check: fast, for every packet; scapy reads the few that are shown.

A probe's packets are recognized at every hop, whatever NAT and VXLAN do to them, by a key that no hop rewrites:

- UDP and ICMP: MARK and 16 hex digits in the payload (answers of the runner's own servers carry ANSWER_MARK instead).
- TCP: the initial sequence number, which the prober chooses (`sockets.choose_sequence`). A SYN-ACK or RST answers
  `sequence + 1`. So an unanswered SYN can be followed as well as a datagram.
- DNS over UDP: the message's identifier and the question's name; both are in the answer too.
- ICMP errors quote the packet they are about, and so have its key.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from netlab.probe.plan.checks import Encapsulation

MARK = b"netlab-probe-"
ANSWER_MARK = b"netlab-reply-"
KEY_LENGTH = 16
ICMP, TCP, UDP = 1, 6, 17  # protocol numbers of IP
DNS_PORT, DNS_HEADER_LENGTH, DNS_RESPONSE = 53, 12, 0x80
SYN, RST, ACK = 0x02, 0x04, 0x10
ETHERNET_LENGTH, VXLAN_LENGTH = 14, 8
ICMP_UNREACHABLE = 3
ICMP_WORDS = {
    (0, 0): "echo reply",
    (8, 0): "echo request",
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed",
    (3, 9): "prohibited",
    (3, 10): "prohibited",
    (3, 13): "prohibited",
}


@dataclass(frozen=True)
class Packet:
    """The content of a frame. `word` names it: SYN, SYN-ACK, RST, datagram, echo request, port unreachable, ..."""

    key: str
    protocol: str
    source: str
    destination: str
    source_port: int
    destination_port: int
    word: str
    answer: bool
    outer: Encapsulation | None = None


@dataclass(frozen=True)
class Sighting:
    """A packet at one point: `namespace` by the name of the place, `direction` in or out of it, `time` in nanoseconds.

    `flooded`: the frame is for another MAC than the device's, so the host does not take it (packet(7): PACKET_OTHERHOST).
    """

    namespace: str
    device: str
    direction: str
    time: int
    order: int
    packet: Packet
    frame: bytes
    flooded: bool = False

    @property
    def where(self) -> str:
        return f"{self.namespace} {self.device}"


def tcp_key(sequence: int) -> str:
    """Return the key of the TCP connection with this initial sequence number."""
    return f"tcp-{sequence:08x}"


def dns_key(message: bytes) -> str:
    """Return the key of a DNS message: its identifier and the name in its question, in lower case (RFC 1035 4.1)."""
    end = message.index(0, DNS_HEADER_LENGTH)
    return f"dns-{message[:2].hex()}-{message[DNS_HEADER_LENGTH:end].lower().hex()}"


def read(frame: bytes, vxlan_port: int) -> Packet | None:
    """Return what an Ethernet frame carries of a probe, None if the frame is not probe traffic."""
    try:
        return _read_ip(frame, ETHERNET_LENGTH, vxlan_port, None) if frame[12:14] == b"\x08\x00" else None
    except (struct.error, IndexError, ValueError):  # cut short: no packet of a probe is
        return None


def _read_ip(frame: bytes, at: int, vxlan_port: int, outer: Encapsulation | None) -> Packet | None:
    protocol = frame[at + 9]
    source, destination = struct.unpack_from("4s4s", frame, at + 12)
    ends = (".".join(map(str, source)), ".".join(map(str, destination)))
    body = at + (frame[at] & 0x0F) * 4
    if protocol == TCP:
        return _read_tcp(frame, body, ends, outer)
    if protocol == ICMP:
        return _read_icmp(frame, body, ends, outer)
    if protocol != UDP:
        return None
    source_port, destination_port = struct.unpack_from("!HH", frame, body)
    if destination_port == vxlan_port and outer is None:
        inner = body + 8 + VXLAN_LENGTH
        if frame[inner + 12 : inner + 14] != b"\x08\x00":
            return None
        vni = int.from_bytes(frame[body + 12 : body + 15], "big")
        header = Encapsulation(ends[0], ends[1], destination_port, vni)
        return _read_ip(frame, inner + ETHERNET_LENGTH, vxlan_port, header)
    key, answer = _mark(frame, body)
    word = "datagram"
    if not key and DNS_PORT in {source_port, destination_port}:
        key, answer = _dns(frame, body + 8)
        word = "DNS answer" if answer else "DNS question"
    return Packet(key, "UDP", *ends, source_port, destination_port, word, answer, outer) if key else None


def _read_tcp(frame: bytes, body: int, ends: tuple[str, str], outer: Encapsulation | None) -> Packet | None:
    source_port, destination_port, sequence, acknowledged = struct.unpack_from("!HHII", frame, body)
    flags = frame[body + 13]
    if flags & SYN and not flags & ACK:
        return Packet(tcp_key(sequence), "TCP", *ends, source_port, destination_port, "SYN", answer=False, outer=outer)
    if flags & (SYN | RST) and flags & ACK:
        word = "SYN-ACK" if flags & SYN else "RST"
        key = tcp_key((acknowledged - 1) & 0xFFFFFFFF)
        return Packet(key, "TCP", *ends, source_port, destination_port, word, answer=True, outer=outer)
    return None


def _read_icmp(frame: bytes, body: int, ends: tuple[str, str], outer: Encapsulation | None) -> Packet | None:
    kind, code = frame[body], frame[body + 1]
    word = ICMP_WORDS.get((kind, code), f"ICMP {kind}/{code}")
    if kind == ICMP_UNREACHABLE:
        quoted = body + 8
        inner = quoted + (frame[quoted] & 0x0F) * 4
        key = _quoted_key(frame, frame[quoted + 9], inner)
        return Packet(key, "ICMP", *ends, 0, 0, word, answer=True, outer=outer) if key else None
    key, _ = _mark(frame, body)
    return Packet(key, "ICMP", *ends, 0, 0, word, answer=kind == 0, outer=outer) if key else None


def _quoted_key(frame: bytes, protocol: int, start: int) -> str:
    """Return the key of the packet that an ICMP error is about."""
    if protocol == TCP:
        return tcp_key(struct.unpack_from("!I", frame, start + 4)[0])
    key = _mark(frame, start)[0]
    if not key and protocol == UDP and struct.unpack_from("!H", frame, start + 2)[0] == DNS_PORT:
        return _dns(frame, start + 8)[0]
    return key


def _dns(frame: bytes, start: int) -> tuple[str, bool]:
    return dns_key(frame[start:]), bool(frame[start + 2] & DNS_RESPONSE)


def _mark(frame: bytes, start: int) -> tuple[str, bool]:
    """Return the key in a payload and whether it is an answer's."""
    for mark, answer in ((MARK, False), (ANSWER_MARK, True)):
        at = frame.find(mark, start)
        if at >= 0:
            key = frame[at + len(mark) : at + len(mark) + KEY_LENGTH]
            if len(key) == KEY_LENGTH:
                return key.decode("ascii", "replace"), answer
    return "", False
