"""Text of objects becomes a value in its one form, or an error that names the field."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netlab.api import values
from netlab.api.cluster import Node, NodeAddress, NodeStatus
from netlab.errors import InvalidValueError
from netlab.family import Family

PARSERS = {
    "ipv4": partial(values.address, family=Family.IPV4), "ipv6": partial(values.address, family=Family.IPV6),
    "unicast": partial(values.unicast, family=Family.IPV4), "cidr": partial(values.cidr, family=Family.IPV4),
    "unicast6": partial(values.unicast, family=Family.IPV6), "cidr6": partial(values.cidr, family=Family.IPV6),
    "ip": values.ip, "mac": values.mac,
    "transport": values.transport, "host_name": values.host_name,
}  # fmt: skip
GOOD = [
    ("ipv4", "10.244.1.5", "10.244.1.5"),
    ("unicast", "172.30.1.1", "172.30.1.1"),
    ("ipv6", "2001:DB8::1", "2001:db8::1"),
    ("unicast6", "fd00:0::5", "fd00::5"),
    ("cidr6", "fd00:0::/64", "fd00::/64"),
    ("ip", "2001:DB8::1", "2001:db8::1"),
    ("cidr", "10.244.1.0/24", "10.244.1.0/24"),
    ("cidr", "10.244.1.0/255.255.255.0", "10.244.1.0/24"),
    ("mac", "02:AB:00:00:00:01", "02:ab:00:00:00:01"),
    ("transport", "SCTP", "sctp"),
    ("host_name", "Db.example.com", "db.example.com"),
]
BAD = [
    ("ipv4", "172.30.1.1 }\nflush ruleset"), ("ipv4", "10.0.0.1\n"), ("ipv4", "010.0.0.1"), ("ipv4", "::1"), ("ipv4", ""),
    ("ipv4", "1" * 100_000),
    ("ipv6", "10.0.0.1"), ("ipv6", "fe80::1%eth0"), ("unicast6", "::"), ("unicast6", "::1"), ("unicast6", "ff02::1"),
    ("cidr6", "fd00::1/64"), ("cidr6", "10.0.0.0/8"),
    ("unicast", "0.0.0.0"), ("unicast", "127.0.0.1"), ("unicast", "224.0.0.1"), ("unicast", "255.255.255.255"),
    ("ip", "fe80::1%eth0"), ("ip", "fe80::1%}\nflush"), ("cidr", "10.244.1.1/24"), ("cidr", "10.244.1.0"), ("cidr", "0.0.0.0/33"),
    ("mac", "ff:ff:ff:ff:ff:ff"), ("mac", "00:00:00:00:00:00"), ("mac", "01:00:5e:00:00:01"), ("mac", "02:00"),
    ("mac", "[" * 100_000),
    ("transport", "ICMP"), ("transport", "tcp"), ("transport", "TCP; drop"), ("host_name", "a\nb"), ("host_name", "a b"),
    ("host_name", "-a"), ("host_name", "a..b"), ("host_name", "a" * 64), ("host_name", "é"), ("host_name", ""),
]  # fmt: skip


@pytest.mark.parametrize(("parser", "text", "expected"), GOOD)
def test_one_form(parser: str, text: str, expected: str):
    """What is right is returned as it is always written."""
    assert expected == PARSERS[parser](text, "a field")


@pytest.mark.parametrize(("parser", "text"), BAD, ids=range(len(BAD)))
def test_refused(parser: str, text: str):
    """The error names field and value in one short line (B1, S2)."""
    with pytest.raises(InvalidValueError, match=r"^a field is ") as caught:
        PARSERS[parser](text, "a field")

    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 200


@given(parser=st.sampled_from(sorted(PARSERS)), text=st.text())
def test_any_text(parser: str, text: str):
    """Whatever comes, a value has none of the characters that end anything."""
    try:
        value = PARSERS[parser](text, "a field")
    except InvalidValueError:
        return

    assert value.isascii()
    assert not set(value) & set(" \n\r\t{};#'\"\\")


PORTS = [
    (1, True),
    (65535, True),
    (0, False),
    (65536, False),
    (-1, False),
    (10**30, False),
    (True, False),
    ("80", False),
    (None, False),
]


@pytest.mark.parametrize(("number", "good"), PORTS)
def test_ports(number: object, good: bool):
    """A port is a number from 1 to 65535."""
    try:
        found = values.port(number, "a port")
    except InvalidValueError:
        found = None

    assert (number if good else None) == found


RANGES = [
    ((" 10.0.0.1/8 ", "10.1.0.0/16"), ("10.0.0.0/8",)),
    (("10.0.0.0/8", "2001:db8::/32"), ("10.0.0.0/8",)),
    (("0.0.0.0/0", "10.0.0.0/8"), ()),
    ((), ()),
]


@pytest.mark.parametrize(("given_", "expected"), RANGES)
def test_source_ranges(given_: tuple[str, ...], expected: tuple[str, ...]):
    """Ranges do not overlap, and those of the other family are left out (semantics 6.12)."""
    assert expected == values.source_ranges(given_, "ranges", Family.IPV4)


def test_lists_of_addresses():
    """Addresses come once each; one of the other family is no error, what is no address is."""
    assert ("10.0.0.1",) == values.addresses(["10.0.0.1", "2001:db8::1", "10.0.0.1", "::ffff:10.0.0.2"], "addresses", Family.IPV4)
    with pytest.raises(InvalidValueError):
        values.addresses(["10.0.0.1", "nonsense"], "addresses", Family.IPV4)


@pytest.mark.parametrize(
    ("text", "address", "present"),
    [("172.30.1.1", "172.30.1.1", True), ("172.30.1.1 }\nflush ruleset", "", True), ("", "", False), ("127.0.0.1", "", True)],
)
def test_the_address_of_a_node(text: str, address: str, present: bool):
    """A Node's InternalIP is an address or nothing: no reader gets the text (B1)."""
    node = Node(status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=text),)))

    assert (address, present) == (node.internal_ip, node.has_address)
