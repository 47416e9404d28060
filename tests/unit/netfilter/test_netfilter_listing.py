from __future__ import annotations

import pytest

from netlab.netfilter.listing import element_key, parse, split_elements

LISTING = """table ip kube-proxy {
    comment "rules of { node1"
    counter packets {
    }

    set affinity-a {
        type ipv4_addr
        size 65535
        flags dynamic,timeout
        timeout 3h
        elements = { 1.2.3.4 }
    }

    set mixed {
        type ipv4_addr
        flags timeout
        elements = { 1.2.3.4 timeout 30s, 1.2.3.5 }
    }

    set ips {
        type ipv4_addr
        comment "ips"
        elements = { 1.2.3.9, 1.2.3.5 comment "x, } y",
                 1.2.3.6, 1.2.3.7 }
    }

    set empty {
        type ipv4_addr
    }

    map service-ips {
        type ipv4_addr . inet_proto . inet_service : verdict
        elements = { 10.0.0.1 . tcp . 80 : goto b1,
                 10.0.0.1 . tcp . 443 comment "s" : goto c }
    }

    chain a {
        comment "hello { , world"
        ip saddr { 10.0.0.0/8 } counter drop comment "foo, { bar"
        numgen random mod 2 vmap { 0 : goto b1, 1 : goto c }
        ip daddr { 1.0.0.1,
               1.0.0.2 } drop
    }

    chain b {
        type nat hook prerouting priority -105; policy accept;
    }

    chain b1 {
    }
}
"""


def test_parse_reads_chains() -> None:
    """Comments with braces, sets over several lines, empty chains: every rule is one string."""
    expected = {
        "a": (
            'ip saddr { 10.0.0.0/8 } counter drop comment "foo, { bar"',
            "numgen random mod 2 vmap { 0 : goto b1, 1 : goto c }",
            "ip daddr { 1.0.0.1, 1.0.0.2 } drop",
        ),
        "b": ("type nat hook prerouting priority -105; policy accept;",),
        "b1": (),
    }

    assert expected == parse(LISTING).chains


def test_parse_reads_elements() -> None:
    """Elements are sorted; those with a timeout, their own or their set's, are left out."""
    expected = {
        "affinity-a": (),
        "mixed": ("1.2.3.5",),
        "ips": ('1.2.3.5 comment "x, } y"', "1.2.3.6", "1.2.3.7", "1.2.3.9"),
        "empty": (),
        "service-ips": ('10.0.0.1 . tcp . 443 comment "s" : goto c', "10.0.0.1 . tcp . 80 : goto b1"),
    }

    assert expected == parse(LISTING).elements


ELEMENTS = [
    ("10.0.0.1", "10.0.0.1"),
    ("10.0.0.1 . tcp . 80 : goto a", "10.0.0.1 . tcp . 80"),
    ('10.0.0.1 . tcp . 80 comment "x, y : z" : drop', "10.0.0.1 . tcp . 80"),
    ("10.0.0.2 timeout 30s expires 9s", "10.0.0.2"),
]


@pytest.mark.parametrize(("element", "expected"), ELEMENTS)
def test_element_has_a_key(element: str, expected: str) -> None:
    """The key is what nft deletes an element by; comment, timeout and value are not part of it."""
    assert expected == element_key(element)


def test_elements_are_split_at_commas_outside_comments() -> None:
    """A comment may hold a comma."""
    elements = [element for element, _ in ELEMENTS]

    assert elements == split_elements(",  ".join(elements))
