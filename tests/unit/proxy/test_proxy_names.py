from __future__ import annotations

from dataclasses import replace

import pytest

from netlab.netfilter.language import _parse
from netlab.netfilter.ruleset import Fragment
from netlab.netfilter.vetting import check_fragment
from netlab.proxy.endpoints import EndpointInfo
from netlab.proxy.names import endpoint_base, port_base, port_label
from netlab.proxy.servicemap import ServicePortInfo

PORT = ServicePortInfo("ns1", "svc1", "p80", "tcp", "10.96.0.1", 80)


def test_names_are_those_of_kube_proxy() -> None:
    """The hash and the form of a name are the same as in a real cluster (semantics 8.6)."""
    names = (port_base(PORT), endpoint_base(PORT, EndpointInfo("10.180.0.1", 80)))

    assert ("ULMVA6XW-ns1/svc1/tcp/p80", "5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80") == names


LONG = "a" * 120
NAMES = [("ns", "svc", "p"), (LONG, LONG, "p"), ("ns", "a.b", ""), ("ns", "x; drop }", "\n")]


@pytest.mark.parametrize(("namespace", "service", "port"), NAMES)
def test_names_fit_nft(namespace: str, service: str, port: str) -> None:
    """A name is short enough and has only characters that nft allows, whatever the objects are called."""
    info = ServicePortInfo(namespace, service, port, "tcp", "10.96.0.1", 80)
    base = port_base(info)
    check_fragment(Fragment.of(elements={"m": {"k": ""}}, comments={"m": {"k": port_label(info)}}))

    assert (True, 1) == (len(base) <= 240, len(_parse(f"goto service-{base}")))


@pytest.mark.parametrize(
    ("port", "expected"),
    [("p80", "ns1/svc1:p80"), ("", "ns1/svc1"), ("p" * 200, "ns1/svc1:" + "p" * 119), ('"; x', "ns1/svc1:___x")],
)
def test_the_comment_of_an_element_is_the_service_port(port: str, expected: str) -> None:
    """It is `namespace/service:port` as in kube-proxy, cut at 128 characters, without any that could end a comment."""
    assert expected == port_label(replace(PORT, port_name=port))
