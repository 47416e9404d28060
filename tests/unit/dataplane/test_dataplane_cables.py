"""Which ends of a cable are removed when they are not where they belong (S4)."""

from __future__ import annotations

import pytest

from netlab.dataplane.cables import severed
from netlab.dataplane.state import Bridge, Link, NamespaceState, Operation, Verb, Veth

MAC = "02:00:00:00:00:01"
CABLE = Veth("eth0", "/far", peer_mac=MAC)
WANTED = NamespaceState(links=(Link("lo"), Link("br", Bridge()), Link("u-a", CABLE)))
NEAR, FAR = Link("u-a", Veth("", ""), index=5, peer=2), Link("eth0", Veth("", ""), mac=MAC, index=2, peer=5)
OTHER = Link("eth0", Veth("", ""), mac="02:00:00:00:00:77", alias="", index=2, peer=9)
MARKED = Link("eth0", Veth("", ""), mac="02:00:00:00:00:77", alias="netlab:lab:a/eth0", index=2, peer=9)

ROWS = [
    ("whole", [NEAR], [FAR], []),
    ("neither end: it is only to be made", [], [], []),
    ("the far namespace is a new one", [NEAR], [], ["near/u-a"]),
    ("the near namespace is a new one", [], [FAR], ["far/eth0"]),
    ("each leads elsewhere", [NEAR], [Link("eth0", Veth("", ""), mac=MAC, index=2, peer=6)], ["near/u-a", "far/eth0"]),
    ("the far end is another cable's of the lab, by its mark", [NEAR], [MARKED], ["near/u-a", "far/eth0"]),
    ("a stranger's veth has the far end's name", [NEAR], [OTHER], ["near/u-a"]),
    ("a stranger's dummy has the far end's name", [], [Link("eth0", None, mac=MAC, alias="netlab:lab:a/eth0")], []),
    ("a link of another kind has the near end's name", [Link("u-a", Bridge(), index=5)], [FAR], ["far/eth0"]),
]


@pytest.mark.parametrize(("near", "far", "removed"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_severed(near, far, removed):
    """What is left of a cable that is not whole is removed at both ends; a stranger's link never."""
    observed = {"/near": NamespaceState(links=(Link("lo"), *near)), "/far": NamespaceState(links=(Link("lo"), *far))}

    found = severed("/near", WANTED, observed)

    assert removed == [f"{path[1:]}/{operation.item.name}" for path, operations in found.items() for operation in operations]
    assert {Verb.DELETE} >= {operation.verb for operations in found.values() for operation in operations}


def test_only_what_was_looked_at():
    """A cable whose far namespace was not observed is taken for whole."""
    assert {} == severed("/near", WANTED, {"/near": NamespaceState(links=(NEAR,))})


def test_operation_is_a_deletion():
    """The command that does the same is `ip link delete`."""
    (operation,) = severed("/near", WANTED, {"/near": NamespaceState(links=(NEAR,)), "/far": NamespaceState()})["/near"]

    assert (Operation(Verb.DELETE, NEAR), "ip link delete dev u-a") == (operation, str(operation))
