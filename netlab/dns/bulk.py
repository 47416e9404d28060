"""Sets of many records: a headless Service has an address, and a name, for each of its endpoints.

dnspython hashes every record of a set and renders one after the other, each with a look-up of the owner's name: 50 to 380 ms
for 1,000 endpoints, in which the node's agent does nothing else, for each spelling of the name in a query. Here

- a record is made, and brought into wire form, once (`lru_cache`, so that a change of one endpoint makes one record),
- a set is a tuple of such records; rendering writes the owner once and joins the rest,
- a set holds at most as many records as the response has room for, and one more, by which it is known to be too large.

Only types whose wire form does not depend on its place in the message are bulk: names in SRV records are not compressed
(RFC 2782).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

import dns.name
import dns.rdata
import dns.rrset
from dns.rdataclass import IN
from dns.rdatatype import RdataType
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV

REMEMBERED: Final = 16384  # records of each kind
POINTER: Final = 0xC000
FARTHEST: Final = 0x3FFF  # the largest offset that a compressed name can point to
OWNER: Final = 2  # bytes of a compressed name
ADDRESS_RECORD: Final = 16  # bytes of an A record with a compressed owner


@dataclass(frozen=True, eq=False)
class WiredRecord:
    """A record with its wire form, length included."""

    rdata: dns.rdata.Rdata
    wire: bytes

    @classmethod
    def of(cls, rdata: dns.rdata.Rdata) -> WiredRecord:
        content = rdata.to_wire() or b""
        return cls(rdata, struct.pack("!H", len(content)) + content)

    @property
    def size(self) -> int:
        """Return the bytes that it takes in a message, behind the first record of its set."""
        return OWNER + 8 + len(self.wire)


@lru_cache(maxsize=REMEMBERED)
def address_record(address: str) -> WiredRecord:
    """Return the A or AAAA record of an address."""
    make, kind = (AAAA, RdataType.AAAA) if ":" in address else (A, RdataType.A)
    return WiredRecord.of(make(IN, kind, address))


@lru_cache(maxsize=REMEMBERED)
def service_record(weight: int, port: int, target: dns.name.Name) -> WiredRecord:
    """Return an SRV record of priority 0."""
    return WiredRecord.of(SRV(IN, RdataType.SRV, 0, weight, port, target))  # type: ignore[no-untyped-call]


def fitting(records: Sequence[WiredRecord], room: int) -> tuple[WiredRecord, ...]:
    """Return the first records that fill so many bytes, the last of them only in part; all when they fit."""
    for place, record in enumerate(records, start=1):
        room -= record.size
        if room < 0:
            return tuple(records[:place])
    return tuple(records)


def whole_records(records: Sequence[WiredRecord], room: int) -> int:
    """Return how many of the first records fit into so many bytes."""
    return sum(size <= room for size in accumulate(record.size for record in records))


class BulkSet(dns.rrset.RRset):
    """A set of records of one owner, of a type that may be large."""

    def __init__(self, name: dns.name.Name, ttl: int, records: Sequence[WiredRecord]) -> None:
        super().__init__(name, IN, records[0].rdata.rdtype)
        self.ttl = ttl
        self.records = tuple(records)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dns.rdata.Rdata]:
        return (record.rdata for record in self.records)

    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def first(self, count: int) -> BulkSet:
        """Return the set of the first records."""
        return BulkSet(self.name, self.ttl, self.records[:count])

    def to_wire(  # type: ignore[override]
        self,
        file: Any,
        compress: dns.name.CompressType | None = None,
        origin: dns.name.Name | None = None,
        **_options: Any,
    ) -> int:
        """Write all records in their order."""
        head = struct.pack("!HHI", self.rdtype, self.rdclass, self.ttl)
        start = file.tell()
        self.name.to_wire(file, compress, origin)
        place = start if compress is None else compress.get(self.name, start)
        owner = struct.pack("!H", POINTER | place) if place <= FARTHEST else self.name.to_wire() or b""
        file.write(head + (owner + head).join(record.wire for record in self.records))
        return len(self)
