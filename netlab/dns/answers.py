"""From a node of the zone to the sections of an answer: records, the SOA of a negative answer, additional addresses.

A `Node` holds plain values; records in dnspython's types are made only for what is asked for. Owner names are the asker's
spelling (semantics 11.13); names inside records are the zone's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

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

from netlab.dns.bulk import ADDRESS_RECORD, BulkSet, WiredRecord, address_record, fitting, service_record

SOA_TIMERS = (7200, 1800, 86400)  # refresh, retry, expire: CoreDNS' values; no server transfers this zone
LARGEST_MESSAGE = 65535  # bytes, over TCP
MOST_ADDITIONAL = 128  # targets of SRV records whose addresses come along, where there is room
MOST_ROTATIONS = 16  # distinct orders for one question, however many addresses it has


@dataclass(frozen=True)
class Origin:
    """A zone's apex and the content of its SOA."""

    name: dns.name.Name
    ttl: int
    serial: int


@dataclass(frozen=True)
class Node:
    """The records at one name. `services` are (port, target) pairs; an alias excludes everything else."""

    addresses: tuple[str, ...] = ()
    alias: str = ""
    services: tuple[tuple[int, dns.name.Name], ...] = ()
    pointers: tuple[dns.name.Name, ...] = ()
    texts: tuple[str, ...] = ()
    name_server: dns.name.Name | None = None
    is_apex: bool = False
    ttl: int | None = None
    bulk: dict[RdataType, tuple[WiredRecord, ...]] = field(default_factory=dict, compare=False, repr=False)  # made already


@dataclass(frozen=True)
class Forward:
    """A question for other servers, by their addresses, in the order in which they are asked."""

    name: dns.name.Name
    kind: RdataType
    servers: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """An answer's sections. `rotations` counts the orders that its addresses may be given in.

    `foreign`: the name belongs to no zone of the lab, and no server was asked about it.
    `forward`: what other servers are to be asked; their answer follows `answers`, which are aliases.
    """

    rcode: dns.rcode.Rcode
    answers: tuple[dns.rrset.RRset, ...] = ()
    authority: tuple[dns.rrset.RRset, ...] = ()
    additional: tuple[dns.rrset.RRset, ...] = ()
    authoritative: bool = True
    rotations: int = 1
    foreign: bool = False
    forward: Forward | None = None


@dataclass(frozen=True)
class Asked:
    """What is asked of a name: a type, in one of the orders of its addresses, and how many bytes the answer may take."""

    kind: RdataType
    rotation: int = 0
    room: int = LARGEST_MESSAGE


Chain = Sequence[tuple[dns.name.Name, Node]]
Addresses = Callable[[dns.name.Name], tuple[str, ...]]


TYPES: dict[RdataType, Callable[..., dns.rdata.Rdata]] = {
    RdataType.CNAME: CNAME,
    RdataType.NS: NS,
    RdataType.PTR: PTR,
    RdataType.SOA: SOA,
    RdataType.TXT: TXT,
}


def _record(kind: RdataType, *fields: object) -> dns.rdata.Rdata:
    return TYPES[kind](IN, kind, *fields)


def respond(chain: Chain, origin: Origin, asked: Asked, addresses: Addresses) -> Answer:
    """Answer from the last name of a chain of aliases: its records of the type asked for, else NODATA."""
    name, node = chain[-1]
    ttl = node.ttl if node.ttl is not None else origin.ttl
    found, rotations = _answer_set((name, ttl), node, origin, asked)
    if found is None:
        return nothing(chain, origin, dns.rcode.NOERROR)
    additional: list[dns.rrset.RRset] = []
    if isinstance(found, BulkSet) and found.rdtype == RdataType.SRV:
        left = asked.room - sum(record.size for record in found.records)
        most = min(MOST_ADDITIONAL, max(0, left // ADDRESS_RECORD))
        for target in dict.fromkeys(target for _, target in node.services[:most]):
            additional += _address_sets(target, ttl, addresses(target))
    if node.name_server and asked.kind == RdataType.NS:
        additional += _address_sets(node.name_server, ttl, addresses(node.name_server))
    answers = (*_aliases(chain[:-1], ttl), found)
    return Answer(dns.rcode.NOERROR, answers, additional=tuple(additional), rotations=rotations)


def _answer_set(owner: tuple[dns.name.Name, int], node: Node, origin: Origin, asked: Asked) -> tuple[dns.rrset.RRset | None, int]:
    """Return the set that answers, None when there is none, and in how many orders it may be given. `owner`: name and TTL."""
    kind = asked.kind
    if kind == RdataType.ANY:  # one of the types that are there is a full answer (RFC 8482, 4.1)
        sets = (_answer_set(owner, node, origin, replace(asked, kind=one)) for one in (*BULK, *MAKERS))
        return next(((found, 1) for found, _ in sets if found), (None, 1))
    if kind in BULK:
        records = _bulk(node, kind)
        if not records:
            return None, 1
        rotations = min(len(records), MOST_ROTATIONS) if kind in {RdataType.A, RdataType.AAAA} else 1
        first = asked.rotation % rotations * len(records) // rotations
        return BulkSet(*owner, fitting((*records[first:], *records[:first]), asked.room)), rotations
    make = MAKERS.get(kind)
    made = make(node, origin) if make else ()
    return (dns.rrset.from_rdata_list(*owner, made) if made else None), 1


def nothing(chain: Chain, origin: Origin, rcode: dns.rcode.Rcode) -> Answer:
    """Answer that there is nothing at the end of a chain of aliases: NXDOMAIN or NODATA, with the zone's SOA (RFC 2308).

    The root stands for everything outside these zones. An alias to a foreign name is an answer by itself: whoever follows
    it may find more.
    """
    aliases = _aliases(chain, origin.ttl)
    foreign = origin.name == dns.name.root and rcode == dns.rcode.NXDOMAIN
    if foreign and aliases:
        return Answer(dns.rcode.NOERROR, aliases)
    authority = dns.rrset.from_rdata_list(origin.name, origin.ttl, (_soa(origin),))
    return Answer(rcode, aliases, (authority,), authoritative=not foreign, foreign=foreign)


def forwarded(chain: Chain, origin: Origin, forward: Forward) -> Answer:
    """Answer with what other servers return about the target of a chain of aliases; SERVFAIL, as long as none has."""
    return Answer(dns.rcode.SERVFAIL, _aliases(chain, origin.ttl), authoritative=False, forward=forward)


def _aliases(chain: Chain, ttl: int) -> tuple[dns.rrset.RRset, ...]:
    return tuple(
        dns.rrset.from_rdata_list(name, ttl, (_record(RdataType.CNAME, dns.name.from_text(node.alias)),))
        for name, node in chain
        if node.alias
    )


def _soa(origin: Origin) -> dns.rdata.Rdata:
    server, mailbox = (dns.name.from_text(text, origin.name) for text in ("ns.dns", "hostmaster"))
    return _record(RdataType.SOA, server, mailbox, origin.serial % 2**32, *SOA_TIMERS, origin.ttl)


def _services(node: Node) -> tuple[WiredRecord, ...]:
    """SRV records of equal priority share a weight of 100, as CoreDNS shares it."""
    weight = max(1, 100 // len(node.services)) if node.services else 0
    return tuple(service_record(weight, port, target) for port, target in node.services)


def _addresses(node: Node, kind: RdataType) -> tuple[WiredRecord, ...]:
    return tuple(record for record in map(address_record, node.addresses) if record.rdata.rdtype == kind)


def _bulk(node: Node, kind: RdataType) -> tuple[WiredRecord, ...]:
    """Return all records of a type that may be many; they are made once per node."""
    if kind not in node.bulk:
        node.bulk[kind] = BULK[kind](node)
    return node.bulk[kind]


BULK: dict[RdataType, Callable[[Node], tuple[WiredRecord, ...]]] = {
    RdataType.A: lambda node: _addresses(node, RdataType.A),
    RdataType.AAAA: lambda node: _addresses(node, RdataType.AAAA),
    RdataType.SRV: _services,
}
MAKERS: dict[RdataType, Callable[[Node, Origin], tuple[dns.rdata.Rdata, ...]]] = {
    RdataType.CNAME: lambda node, _: (_record(RdataType.CNAME, dns.name.from_text(node.alias)),) if node.alias else (),
    RdataType.PTR: lambda node, _: tuple(_record(RdataType.PTR, p) for p in node.pointers),
    RdataType.TXT: lambda node, _: (_record(RdataType.TXT, node.texts),) if node.texts else (),
    RdataType.SOA: lambda node, origin: (_soa(origin),) if node.is_apex else (),
    RdataType.NS: lambda node, _: (_record(RdataType.NS, node.name_server),) if node.name_server else (),
}


def _address_sets(name: dns.name.Name, ttl: int, addresses: tuple[str, ...]) -> list[dns.rrset.RRset]:
    node = Node(addresses=addresses)
    sets = (_addresses(node, kind) for kind in (RdataType.A, RdataType.AAAA))
    return [BulkSet(name, ttl, records) for records in sets if records]
