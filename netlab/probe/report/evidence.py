"""Evidence: one packet's way, decoded by scapy, hop by hop, with what each hop did to it.

Decoding costs 0.2 ms a packet and importing scapy 0.3 s, so only packets that are shown are decoded, and scapy is
imported when the first one is. Only `scapy.layers` are imported (never `scapy.all`), and nothing of scapy's own idea of
routes and interfaces is used, because it ignores namespaces.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from netlab.probe.run.wire import Sighting

MOST_HOPS = 40


def evidence(trail: Iterable[Sighting], vxlan_port: int) -> list[dict[str, Any]]:
    """Return the hops of a packet as JSON: where it was, its addresses, the header around it, what changed on the way."""
    hops: list[dict[str, Any]] = []
    for sighting in list(trail)[:MOST_HOPS]:
        hop = decode(sighting.frame, vxlan_port)
        before = next((h for h in reversed(hops) if h["answer"] == sighting.packet.answer), None)
        hops.append(
            {
                "where": sighting.where,
                "direction": sighting.direction,
                "answer": sighting.packet.answer,
                "packet": sighting.packet.word,
                **({"flooded": True} if sighting.flooded else {}),  # for another MAC: the host does not take it
                **hop,
                "translated": changes(before, hop) if before else [],
            }
        )
    return hops


def decode(frame: bytes, vxlan_port: int) -> dict[str, Any]:
    """Return a frame's addresses as scapy reads them: the outer header where there is VXLAN, then the packet's own."""
    logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # scapy warns about the host's routes, which are not used
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    from scapy.layers.vxlan import VXLAN

    packet = Ether(frame)
    outer = None
    if IP in packet and UDP in packet and packet[UDP].dport == vxlan_port:
        if VXLAN not in packet:  # scapy binds VXLAN to 4789 and 8472 only
            packet[UDP].remove_payload()
            header = VXLAN(frame[42:])
        else:
            header = packet[VXLAN]
        outer = {"source": packet[IP].src, "destination": packet[IP].dst, "port": packet[UDP].dport, "vni": header.vni}
        packet = header.payload
    ip = packet[IP]
    transport = ip.payload
    return {
        "source": _end(ip.src, getattr(transport, "sport", None)),
        "destination": _end(ip.dst, getattr(transport, "dport", None)),
        "ttl": ip.ttl,
        "length": ip.len,
        "outer": outer,
    }


def _end(address: str, port: int | None) -> str:
    return f"{address}:{port}" if port is not None else address


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the address translations between two hops, as text."""
    return [f"{end} {before[end]} -> {now[end]}" for end in ("source", "destination") if before[end] != now[end]]
