"""Which source ports datagrams get: none of a flow that is remembered, each once before any comes again."""

from __future__ import annotations

from itertools import islice

import pytest

from netlab.probe.run.ports import PORTS, source_ports

MOST = frozenset(PORTS) - {40000, 40001, 50000}
ROWS = [
    pytest.param(frozenset(), 0, PORTS[:3], id="nothing is remembered"),
    pytest.param(frozenset(), 5, PORTS[5:8], id="another run begins elsewhere"),
    pytest.param(frozenset(), len(PORTS) - 1, (PORTS[-1], *PORTS[:2]), id="the last is followed by the first"),
    pytest.param(frozenset({PORTS[0], PORTS[2], 53}), 0, (PORTS[1], PORTS[3], PORTS[4]), id="some are remembered"),
    pytest.param(MOST, 1, (40001, 50000, 40000, 40001), id="few are left"),
    pytest.param(frozenset(PORTS), 0, PORTS[:3], id="none is left"),
]


@pytest.mark.parametrize(("taken", "seed", "expected"), ROWS)
def test_ports_in_turn(taken, seed, expected):
    """A flow that conntrack remembers would be treated as it was, not as the rules say."""
    assert tuple(expected) == tuple(islice(source_ports(taken, seed), len(expected)))
