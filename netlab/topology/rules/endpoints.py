"""Endpoints and EndpointSlices made by hand (semantics 4.14, 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from netlab.api.discovery import EndpointPort, EndpointSlice
from netlab.api.lab import Networking
from netlab.api.services import Endpoints, EndpointsPort
from netlab.topology.problem import Problem, Steps, duplicate, invalid, required

MOST_ENDPOINTS = 1000
MOST_ADDRESSES = 100


def endpoints_problems(endpoints: Endpoints, networking: Networking | None) -> Iterator[Problem]:
    """Yield what is wrong with an Endpoints object."""
    for index, subset in enumerate(endpoints.subsets):
        at = ("subsets", index)
        if not subset.addresses and not subset.not_ready_addresses:
            yield required(at, "must specify `addresses` or `notReadyAddresses`")
        yield from _port_problems(subset.ports, (*at, "ports"))
        if len(subset.ports) > 1:
            for number, port in enumerate(subset.ports):
                if not port.name:
                    yield required((*at, "ports", number, "name"), "every port needs a name if there is more than one")
        for field, addresses in (("addresses", subset.addresses), ("notReadyAddresses", subset.not_ready_addresses)):
            for number, address in enumerate(addresses):
                yield from _service_address_problems(address.ip, (*at, field, number, "ip"), networking)


def endpoint_slice_problems(piece: EndpointSlice, networking: Networking | None) -> Iterator[Problem]:
    """Yield what is wrong with an EndpointSlice."""
    if len(piece.endpoints) > MOST_ENDPOINTS:
        yield invalid(("endpoints",), len(piece.endpoints), f"must have at most {MOST_ENDPOINTS} items")
    for index, endpoint in enumerate(piece.endpoints):
        at = ("endpoints", index, "addresses")
        if not endpoint.addresses:
            yield required(at, "must contain at least 1 address")
        if len(endpoint.addresses) > MOST_ADDRESSES:
            yield invalid(at, len(endpoint.addresses), f"must have at most {MOST_ADDRESSES} items")
        for number, address in enumerate(endpoint.addresses):
            yield from _service_address_problems(address, (*at, number), networking)
    yield from _port_problems(piece.ports, ("ports",))


def _port_problems(ports: Sequence[EndpointsPort | EndpointPort], at: Steps) -> Iterator[Problem]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        if port.name in names:
            yield duplicate((*at, index, "name"), port.name)
        if port.name or isinstance(port, EndpointPort):
            names.add(port.name)


def _service_address_problems(text: str, at: Steps, networking: Networking | None) -> Iterator[Problem]:
    if networking is None:
        return
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return  # the decoder has reported it
    if address in IPv4Network(networking.service_subnet, strict=False):
        yield invalid(at, text, "is an address of a Service; an endpoint must be a real address of a pod or host")
