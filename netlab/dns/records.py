"""From one Service and its EndpointSlices to the names it owns (semantics 11.1 - 11.6, 11.9, 11.10, 11.18).

Every Service owns one subtree, `<service>.<namespace>.svc.<zone>`, and nothing outside of it, so a zone is a table
of these subtrees and a change of one Service rebuilds one entry. The content of a subtree:

    Service                   at its own name          <endpoint>.           _<port>._<protocol>.
    with a cluster IP         that address             every ready endpoint  named ports -> the Service itself
    headless (clusterIP None) every ready endpoint     every ready endpoint  named ports -> <endpoint> names
    ExternalName              an alias                 nothing               nothing

What would surprise you:
- A headless Service without a ready endpoint owns nothing: its name does not exist (NXDOMAIN), while a Service with a
  cluster IP exists whether or not it has an endpoint.
- An endpoint's name is its hostname, else its address with dashes. Several endpoints may share a hostname.
- The port of a headless Service's SRV record is the endpoint's, the other's is the Service's.
- What cannot be an address, a port or a label is an error here, when objects come, and not when a client asks.
- ExternalName with an address for a name is not an alias: it does not exist, as with CoreDNS.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import dns.exception
import dns.name

from netlab.api import values
from netlab.api.discovery import Endpoint, EndpointSlice
from netlab.api.services import Service
from netlab.errors import InvalidValueError

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123
ADDRESS_TYPES = frozenset({"IPv4", "IPv6"})  # the third, FQDN, has no address to answer with


@dataclass(frozen=True)
class ServiceRecord:
    """The variable part of an SRV record: the port, and the endpoint's label (empty: the Service itself)."""

    port: int
    endpoint: str = ""


@dataclass(frozen=True)
class ServiceRecords:
    """One Service's subtree. `ports` is keyed by port name and protocol, both in lower case."""

    addresses: tuple[str, ...] = ()
    endpoints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ports: Mapping[tuple[str, str], tuple[ServiceRecord, ...]] = field(default_factory=dict)
    alias: str = ""
    headless: bool = False


def service_records(service: Service, slices: Iterable[EndpointSlice]) -> ServiceRecords | None:
    """Return what the Service owns in the zone, None when its name does not exist. Raises InvalidValueError."""
    for part in (service.metadata.namespace, service.metadata.name):
        if not LABEL.fullmatch(part):
            raise InvalidValueError(f"Its name {values.shown(part)} is not a DNS label.")
    if service.spec.type == "ExternalName":
        alias = service.spec.external_name
        return ServiceRecords(alias=alias) if is_name(alias) and not is_address(alias) else None
    ready = tuple(_ready(service, slices))
    endpoints: dict[str, dict[str, None]] = {}
    for _, endpoint in ready:
        # The first address stands for all (EndpointSlice API: they are fungible).
        address = values.ip(endpoint.addresses[0], "the address of an endpoint")
        endpoints.setdefault(endpoint_label(endpoint), {})[address] = None
    named = {label: tuple(addresses) for label, addresses in endpoints.items()}
    if service.headless:
        return _headless(ready, named) if ready else None
    texts = service.spec.cluster_ips or tuple(filter(None, (service.spec.cluster_ip,)))
    addresses = tuple(values.ip(text, "spec.clusterIP") for text in texts)
    if not addresses:
        return None  # not allocated yet
    ports = {
        (port.name.lower(), port.protocol.lower()): (ServiceRecord(values.port(port.port, "a port")),)
        for port in service.spec.ports
        if port.name
    }
    return ServiceRecords(addresses=addresses, endpoints=named, ports=ports)


def check_slice(piece: EndpointSlice) -> None:
    """Raise InvalidValueError when a slice holds what cannot be named or numbered in DNS."""
    for endpoint in piece.endpoints if piece.address_type in ADDRESS_TYPES else ():
        for address in endpoint.addresses[:1]:
            values.ip(address, "the address of an endpoint")
    for port in piece.ports:
        values.port_or_none(port.port or 0, "a port")


def _headless(ready: tuple[tuple[EndpointSlice, Endpoint], ...], named: Mapping[str, tuple[str, ...]]) -> ServiceRecords:
    ports: dict[tuple[str, str], dict[ServiceRecord, None]] = {}
    for endpoint_slice, endpoint in ready:
        for port in endpoint_slice.ports:
            if port.name and port.port is not None:
                record = ServiceRecord(port.port, endpoint_label(endpoint))
                ports.setdefault((port.name.lower(), port.protocol.lower()), {})[record] = None
    return ServiceRecords(
        addresses=tuple(dict.fromkeys(address for addresses in named.values() for address in addresses)),
        endpoints=named,
        ports={key: tuple(records) for key, records in ports.items()},
        headless=True,
    )


def _ready(service: Service, slices: Iterable[EndpointSlice]) -> Iterator[tuple[EndpointSlice, Endpoint]]:
    """Endpoints DNS may name: ready ones (unset is ready, 5.3), all with publishNotReadyAddresses (11.18)."""
    for endpoint_slice in slices:
        if endpoint_slice.address_type in ADDRESS_TYPES:
            for endpoint in endpoint_slice.endpoints:
                if endpoint.addresses and (endpoint.conditions.is_ready or service.spec.publish_not_ready_addresses):
                    yield endpoint_slice, endpoint


def endpoint_label(endpoint: Endpoint) -> str:
    """Return an endpoint's name below its Service: its hostname, else its dashed address (semantics 11.4)."""
    hostname = endpoint.hostname.lower()
    return hostname if LABEL.fullmatch(hostname) else dashed(values.ip(endpoint.addresses[0], "the address of an endpoint"))


def dashed(address: str) -> str:
    """Write an address as a DNS label: `10.244.1.2` -> `10-244-1-2`, `2001:db8::` -> `2001-db8--0`."""
    label = address.lower().replace(".", "-").replace(":", "-")
    return f"{label}0" if label.endswith("-") else label


def undashed(label: str) -> str | None:
    """Read an address from a label, None when it is not one."""
    separator = "." if label.count("-") == 3 and "--" not in label else ":"
    try:
        return values.ip(label.replace("-", separator), "a label")
    except InvalidValueError:
        return None


def is_address(text: str) -> bool:
    """Return whether a text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text.removesuffix("."))
    except ValueError:
        return False
    return True


def is_name(text: str) -> bool:
    """Return whether a text can be a domain name."""
    try:
        return len(dns.name.from_text(text)) > 1
    except (dns.exception.DNSException, UnicodeError):
        return False
