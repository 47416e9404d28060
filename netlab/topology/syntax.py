"""How names, labels, addresses and ranges are written: one row per kind of text, Kubernetes' rules and Kubernetes' words.

A `Syntax` returns what is wrong with a text, or nothing. `pattern` is the part of the rule that a JSON Schema can hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError, ip_address

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"


@dataclass(frozen=True)
class Syntax:
    """A kind of text: what it matches, how long it may be, the message otherwise; `check` adds what no pattern can.

    `is_type`: Kubernetes decodes such a text into a separate type, so that a wrong one is a 400, not a 422.
    """

    name: str
    pattern: str = ""
    longest: int = 0
    says: str = ""
    check: Callable[[str], str] | None = None
    is_type: bool = False

    def fault(self, text: str) -> str:
        """Return what is wrong, empty when nothing is."""
        if self.longest and len(text) > self.longest:
            return f"must be no more than {self.longest} characters"
        if self.pattern and not re.fullmatch(self.pattern, text):
            return self.says
        return self.check(text) if self.check else ""


def _qualified_name(text: str) -> str:
    """Label and annotation keys: an optional DNS prefix, a slash, a name of at most 63 characters."""
    prefix, slash, name = text.rpartition("/")
    if slash and (fault := DNS_SUBDOMAIN.fault(prefix)):
        return f"prefix part {fault}"
    if not name:
        return "name part must be non-empty"
    if len(name) > 63:
        return "name part must be no more than 63 characters"
    if not re.fullmatch(_QUALIFIED, name):
        return (
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character"
        )
    return ""


def _port_name(text: str) -> str:
    if not re.search(r"[a-z]", text):
        return "must contain at least one letter (a-z)"
    return "must not contain consecutive hyphens" if "--" in text else ""


def _address(text: str) -> str:
    try:
        IPv4Address(text)
    except AddressValueError:
        return "must be an IPv4 address: the networks of a lab are IPv4" if _is_ipv6(text) else "must be a valid IP address"
    return ""


def _is_ipv6(text: str) -> bool:
    try:
        return ip_address(text.partition("/")[0]).version == 6
    except ValueError:
        return False


def _endpoint_address(text: str) -> str:
    """Addresses no Service may point to (semantics 4.14)."""
    if fault := _address(text):
        return fault
    address = IPv4Address(text)
    for is_special, what in (
        (address.is_unspecified, "may not be unspecified (0.0.0.0)"),
        (address.is_loopback, "may not be in the loopback range (127.0.0.0/8)"),
        (address.is_link_local, "may not be in the link-local range (169.254.0.0/16)"),
        (address in IPv4Network("224.0.0.0/24"), "may not be in the link-local multicast range (224.0.0.0/24)"),
    ):
        if is_special:
            return what
    return ""


def _unicast_address(text: str) -> str:
    """Addresses that one host can have: what rules, routes and names of hosts are made from."""
    if fault := _address(text):
        return fault
    address = IPv4Address(text)
    for is_special, what in (
        (address in IPv4Network("0.0.0.0/8"), "may not be an address of this host (0.0.0.0/8)"),
        (address.is_loopback, "may not be in the loopback range (127.0.0.0/8)"),
        (address.is_multicast, "may not be in the multicast range (224.0.0.0/4)"),
        (address in IPv4Network("240.0.0.0/4"), "may not be in the reserved range (240.0.0.0/4)"),
    ):
        if is_special:
            return what
    return ""


def _time(text: str) -> str:
    """A date that the calendar has; a fraction of any length is allowed."""
    try:
        datetime.fromisoformat(re.sub(r"\.[0-9]+", "", text))
    except ValueError as error:
        return f"must be a time: {error}"
    return ""


def _network(text: str) -> str:
    """A range with a prefix length; bits behind the prefix are allowed, as Kubernetes allows them."""
    address, slash, length = text.partition("/")
    if _is_ipv6(address):
        return "must be an IPv4 range: the networks of a lab are IPv4"
    if not slash or not re.fullmatch(r"[1-9]?[0-9]", length):
        return "must be a valid CIDR value, (e.g. 10.9.8.0/24)"
    try:
        IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError):
        return "must be a valid CIDR value, (e.g. 10.9.8.0/24)"
    return ""


def _port_range(text: str) -> str:
    low, high = (int(part) for part in text.split("-"))
    return "" if 1 <= low <= high <= 65535 else "must be two ports between 1 and 65535, the lower one first"


DNS_LABEL = Syntax(
    "DNS label",
    _LABEL,
    63,
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character",
)
LAB_NAME = replace(DNS_LABEL, name="name of a lab", longest=40)  # it begins the names of network namespaces, containers, links
DNS_1035_LABEL = Syntax(
    "DNS-1035 label",
    r"[a-z]([-a-z0-9]*[a-z0-9])?",
    63,
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end "
    "with an alphanumeric character",
)
DNS_SUBDOMAIN = Syntax(
    "DNS subdomain",
    rf"{_LABEL}(\.{_LABEL})*",
    253,
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character",
)
HOST_NAME = Syntax(  # as DNS_SUBDOMAIN, the final dot of an absolute name allowed
    "DNS name",
    rf"{_LABEL}(\.{_LABEL})*\.?",
    254,
    DNS_SUBDOMAIN.says,
    lambda text: "" if all(len(label) <= 63 for label in text.split(".")) else "each label must be no more than 63 characters",
)
SEARCH_DOMAIN = Syntax("search domain", rf"\.|[a-z0-9_]([-a-z0-9_]*[a-z0-9])?(\.{_LABEL})*\.?", 254, DNS_SUBDOMAIN.says)
QUALIFIED_NAME = Syntax("qualified name", check=_qualified_name)
LABEL_VALUE = Syntax(
    "label value",
    rf"({_QUALIFIED})?",
    63,
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character",
)
PORT_NAME = Syntax(
    "port name",
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?",
    15,
    "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), and start and end with an alphanumeric character",
    _port_name,
)
CONFIG_KEY = Syntax(
    "ConfigMap key",
    r"(?!\.\.?$)(?!\.\.)[-._a-zA-Z0-9]+",
    253,
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
)
ENVIRONMENT_NAME = Syntax(
    "environment variable name",
    r"[ -<>-~]+",
    0,
    "a valid environment variable name must consist only of printable ASCII characters other than '='",
)
ADDRESS = Syntax("IPv4 address", check=_address)
ENDPOINT_ADDRESS = Syntax("endpoint address", check=_endpoint_address)
UNICAST_ADDRESS = Syntax("address of a host", check=_unicast_address)
NETWORK = Syntax("IPv4 range", check=_network)
PADDED_NETWORK = Syntax("IPv4 range", check=lambda text: _network(text.strip()))  # as Kubernetes reads source ranges
TIME = Syntax(
    "time",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})",
    0,
    "must be a time of RFC 3339, e.g. 2026-01-31T12:00:00.000000Z",
    _time,
    is_type=True,
)
QUANTITY = Syntax(
    "quantity",
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3})?",
    64,
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    is_type=True,
)
HTTP_HEADER_NAME = Syntax(
    "HTTP header name",
    r"[-A-Za-z0-9]+",
    0,
    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name')",
)
HTTP_TEXT = Syntax("HTTP text", r"[^\0-\x08\x0a-\x1f\x7f]*", 0, "must not contain control characters such as line breaks")
PORT_RANGE = Syntax("port range", r"[0-9]{1,5}-[0-9]{1,5}", 0, 'must be two ports, e.g. "30000-32767"', _port_range)
API_VERSION = Syntax(
    "API version", rf"({_LABEL}(\.{_LABEL})*/)?{_LABEL}", 253, "must be a version, or a group and a version: v1, apps/v1"
)
KIND = Syntax("kind", r"[A-Za-z]([-A-Za-z0-9]*[A-Za-z0-9])?", 63, "must be the name of a kind, like Pod")
UID = Syntax("uid", r"[!-~]+", 253, "must consist of printable ASCII characters")
CAPABILITY = Syntax("capability", r"(?!CAP_)[A-Z][A-Z0-9_]*", 0, "must be a capability without `CAP_`, like NET_ADMIN, or ALL")
IMAGE = Syntax("image", r"\S(.*\S)?", 0, "must not have leading or trailing whitespace")
FILE_PATH = Syntax("file or folder", r"/?[^\0/]{1,255}(/+[^\0/]{0,255})*", 4000, "must be the path of a file or folder")
PROCESS_TEXT = Syntax(
    "text", r"[^\0]*", 0, "must not contain a NUL character: arguments and environment variables cannot contain it"
)
