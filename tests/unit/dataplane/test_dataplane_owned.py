"""A part's state in a namespace that other parts use too."""

from __future__ import annotations

import random

import pytest

from netlab.dataplane.diff import diff
from netlab.dataplane.owned import OwnedState, items, on_devices
from netlab.dataplane.state import (
    Address,
    ForwardingEntry,
    Link,
    NamespaceState,
    Neighbour,
    Operation,
    Route,
    Verb,
    Vxlan,
)

DEVICES = ("flannel.1", "eth0", "foo.1", "")
MARK = "netlab:lab:flannel.1"
BASE = NamespaceState(
    links=(Link("flannel.1", Vxlan(1, 8472, "172.30.1.1", "eth0"), mtu=1450, alias=MARK),),
    addresses=(Address("flannel.1", "10.244.1.0/32"),),
)


def entries(number: int, device: str = "flannel.1", remote: str = "") -> NamespaceState:
    gateway, mac = f"10.244.{number}.0", f"02:00:00:00:00:0{number}"
    return NamespaceState(
        neighbours=(Neighbour(device, gateway, mac),),
        forwarding=(ForwardingEntry(device, mac, remote or f"172.30.1.{number}"),),
        routes=(Route(f"{gateway}/24", device, gateway, onlink=True),),
    )


FRAGMENTS = {"node2": entries(2), "node3": entries(3)}
WANTED = OwnedState(BASE, FRAGMENTS, on_devices(["flannel.1"], [MARK]))


def observed(dice: random.Random) -> NamespaceState:
    """A namespace as somebody may have left it."""
    links = [Link("eth0"), *(link for link in BASE.links if dice.random() < 0.7)]
    other = Vxlan(2, 8472, "172.30.1.1", "eth0")
    links += [Link("foo.1", other, alias=dice.choice([MARK, "", "other"]))]
    parts = [entries(n, dice.choice(DEVICES), dice.choice(["", "172.30.9.9"])) for n in range(1, 5)]
    routes = {r.destination: r for part in parts for r in part.routes if dice.random() < 0.7}
    addresses = (*BASE.addresses, Address("eth0", "172.30.1.1/16"))
    return NamespaceState(
        links=tuple(links),
        addresses=tuple(address for address in addresses if dice.random() < 0.7),
        neighbours=tuple(item for part in parts for item in part.neighbours),
        forwarding=tuple(item for part in parts for item in part.forwarding),
        routes=tuple(routes.values()),
    )


@pytest.mark.parametrize("seed", range(200))
def test_difference_leaves_what_is_not_owned(seed: int):
    """It is the difference for which the device belongs to the part, and no other device does."""
    state = observed(random.Random(seed))

    assert diff(WANTED.whole, state, {"flannel.1"}.__contains__) == WANTED.difference(state)


def test_a_renamed_device_is_owned_by_its_mark():
    """It blocks the address of the new one."""
    state = NamespaceState(links=(Link("eth0"), Link("foo.1", BASE.links[0].kind, alias=MARK)))

    assert Operation(Verb.DELETE, state.links[1]) == WANTED.difference(state)[0]


def test_whole_has_the_base_before_the_fragments_left():
    """A fragment that is left out takes its items along; an item follows those that it needs."""
    expected = (*BASE.links, *BASE.addresses, *items(entries(3)))

    assert expected == items(WANTED.without({"node2"}).whole)
