from __future__ import annotations

import pytest

from netlab.dataplane.flows import Flow, FlowFilter

VIP, ENDPOINT = "10.96.0.10", "10.244.2.5"
FLOW = Flow("udp", VIP, 53, ENDPOINT, 0x1010000)
FILTERS = [
    ("protocol alone", FlowFilter(), True),
    ("the port of a Service", FlowFilter("udp", VIP, 53), True),
    ("an endpoint of a port", FlowFilter("udp", VIP, 53, ENDPOINT), True),
    ("a node by its mark", FlowFilter("udp", VIP, 53, mark=0x1010000), True),
    ("all fields", FlowFilter("udp", VIP, 53, ENDPOINT, 0x1010000), True),
    ("another protocol", FlowFilter("tcp", VIP, 53), False),
    ("another address", FlowFilter("udp", "10.96.0.11", 53), False),
    ("another port", FlowFilter("udp", VIP, 54), False),
    ("another endpoint", FlowFilter("udp", VIP, 53, "10.244.2.6"), False),
    ("another node", FlowFilter("udp", VIP, 53, mark=0x1020000), False),
]


@pytest.mark.parametrize(("what", "filter_", "expected"), FILTERS)
def test_filter_matches_all_given_fields(what: str, filter_: FlowFilter, expected: bool) -> None:
    """A field that a filter does not give matches every flow (semantics 6.18)."""
    assert expected is filter_.matches(FLOW), what
