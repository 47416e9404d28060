"""From a node of the zone to the sections of an answer: records, the SOA of a negative answer, additional addresses.

A `Node` holds plain values; records in dnspython's types are made only for what is asked for. Owner names are the asker's
spelling (semantics 11.13); names inside records are the zone's own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dns.name
import dns.rcode
import dns.rdata
import dns.rrset
from dns.rdataclass import IN
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.SOA import SOA
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV

SOA_TIMERS = (7200, 1800, 86400)  # refresh, retry, expire: CoreDNS' values; nobody transfers this zone
MOST_ROTATIONS = 16  # distinct orders handed out for one question, however many addresses it has


@dataclass(frozen=True)
class Origin:
    """A zone's apex and what its SOA says."""

    name: dns.name.Name
    ttl: int
    serial: int


@dataclass(frozen=True)
class Node:
    """What stands at one name. `services` are (port, target) pairs; an alias excludes everything else."""

    addresses: tuple[str, ...] = ()
    alias: str = ""
    services: tuple[tuple[int, dns.name.Name], ...] = ()
    pointers: tuple[dns.name.Name, ...] = ()
    texts: tuple[str, ...] = ()
    name_server: dns.name.Name | None = None
    is_apex: bool = False
    ttl: int | None = None


@dataclass(frozen=True)
class Answer:
    """An answer's sections. `rotations` counts the orders that its addresses may be given in.

    `foreign`: the name belongs to no zone of the lab, and no server was asked about it.
    """

    rcode: dns.rcode.Rcode
    answers: tuple[dns.rrset.RRset, ...] = ()
    authority: tuple[dns.rrset.RRset, ...] = ()
    additional: tuple[dns.rrset.RRset, ...] = ()
    authoritative: bool = True
    rotations: int = 1
    foreign: bool = False


Chain = Sequence[tuple[dns.name.Name, Node]]
Addresses = Callable[[dns.name.Name], tuple[str, ...]]


TYPES: dict[RdataType, Callable[..., dns.rdata.Rdata]] = {
    RdataType.A: A,
    RdataType.AAAA: AAAA,
    RdataType.CNAME: CNAME,
    RdataType.NS: NS,
    RdataType.PTR: PTR,
    RdataType.SOA: SOA,
    RdataType.SRV: SRV,
    RdataType.TXT: TXT,
}


def _record(kind: RdataType, *fields: object) -> dns.rdata.Rdata:
    return TYPES[kind](IN, kind, *fields)


def respond(chain: Chain, origin: Origin, kind: RdataType, rotation: int, addresses: Addresses) -> Answer:
    """Answer from the last name of a chain of aliases: its records of the type asked for, else NODATA."""
    name, node = chain[-1]
    ttl = node.ttl if node.ttl is not None else origin.ttl
    records = _records(node, origin, kind)
    if not records:
        return nothing(chain, origin, dns.rcode.NOERROR)
    additional: list[dns.rrset.RRset] = []
    for target in dict.fromkeys(target for _, target in node.services if kind == RdataType.SRV):
        additional += _address_sets(target, ttl, addresses(target))
    if node.name_server and kind == RdataType.NS:
        additional += _address_sets(node.name_server, ttl, addresses(node.name_server))
    rotations = min(len(records), MOST_ROTATIONS) if kind in {RdataType.A, RdataType.AAAA} else 1
    first = rotation % rotations * len(records) // rotations
    turned = (*records[first:], *records[:first])
    return Answer(
        dns.rcode.NOERROR,
        (*_aliases(chain[:-1], ttl), dns.rrset.from_rdata_list(name, ttl, turned)),
        additional=tuple(additional),
        rotations=rotations,
    )


def nothing(chain: Chain, origin: Origin, rcode: dns.rcode.Rcode) -> Answer:
    """Answer that there is nothing at the end of a chain of aliases: NXDOMAIN or NODATA, with the zone's SOA (RFC 2308).

    The root stands for everything that is no zone of ours. An alias to a foreign name is an answer by itself: whoever follows
    it may know more.
    """
    aliases = _aliases(chain, origin.ttl)
    foreign = origin.name == dns.name.root and rcode == dns.rcode.NXDOMAIN
    if foreign and aliases:
        return Answer(dns.rcode.NOERROR, aliases)
    authority = dns.rrset.from_rdata_list(origin.name, origin.ttl, (_soa(origin),))
    return Answer(rcode, aliases, (authority,), authoritative=not foreign, foreign=foreign)


def _aliases(chain: Chain, ttl: int) -> tuple[dns.rrset.RRset, ...]:
    return tuple(
        dns.rrset.from_rdata_list(name, ttl, (_record(RdataType.CNAME, dns.name.from_text(node.alias)),))
        for name, node in chain
        if node.alias
    )


def _soa(origin: Origin) -> dns.rdata.Rdata:
    server, mailbox = (dns.name.from_text(text, origin.name) for text in ("ns.dns", "hostmaster"))
    return _record(RdataType.SOA, server, mailbox, origin.serial % 2**32, *SOA_TIMERS, origin.ttl)


def _of_version(addresses: tuple[str, ...], version: int) -> tuple[str, ...]:
    return tuple(a for a in addresses if ipaddress.ip_address(a).version == version)


def _services(node: Node) -> tuple[dns.rdata.Rdata, ...]:
    """SRV records of equal priority share a weight of 100, as CoreDNS shares it."""
    weight = max(1, 100 // len(node.services)) if node.services else 0
    return tuple(_record(RdataType.SRV, 0, weight, port, target) for port, target in node.services)


MAKERS: dict[RdataType, Callable[[Node, Origin | None], tuple[dns.rdata.Rdata, ...]]] = {
    RdataType.A: lambda node, _: tuple(_record(RdataType.A, a) for a in _of_version(node.addresses, 4)),
    RdataType.AAAA: lambda node, _: tuple(_record(RdataType.AAAA, a) for a in _of_version(node.addresses, 6)),
    RdataType.CNAME: lambda node, _: (_record(RdataType.CNAME, dns.name.from_text(node.alias)),) if node.alias else (),
    RdataType.SRV: lambda node, _: _services(node),
    RdataType.PTR: lambda node, _: tuple(_record(RdataType.PTR, p) for p in node.pointers),
    RdataType.TXT: lambda node, _: (_record(RdataType.TXT, node.texts),) if node.texts else (),
    RdataType.SOA: lambda node, origin: (_soa(origin),) if origin and node.is_apex else (),
    RdataType.NS: lambda node, _: (_record(RdataType.NS, node.name_server),) if node.name_server else (),
}


def _records(node: Node, origin: Origin | None, kind: RdataType) -> tuple[dns.rdata.Rdata, ...]:
    if kind == RdataType.ANY:  # one of the types that are there is a full answer (RFC 8482, 4.1)
        return next(filter(None, (make(node, origin) for make in MAKERS.values())), ())
    make = MAKERS.get(kind)
    return make(node, origin) if make else ()


def _address_sets(name: dns.name.Name, ttl: int, addresses: tuple[str, ...]) -> list[dns.rrset.RRset]:
    node = Node(addresses=addresses)
    sets = (MAKERS[kind](node, None) for kind in (RdataType.A, RdataType.AAAA))
    return [dns.rrset.from_rdata_list(name, ttl, records) for records in sets if records]
