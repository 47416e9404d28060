from __future__ import annotations

from dataclasses import replace

import pytest

from netlab.dataplane.diff import diff
from netlab.dataplane.state import (
    Address,
    Bridge,
    ForwardingEntry,
    Link,
    NamespaceState,
    Neighbour,
    Operation,
    Route,
    Sysctl,
    Verb,
    Veth,
    Vxlan,
)

ADD, SET, DELETE = Verb.ADD, Verb.SET, Verb.DELETE
LO = Link("lo", mac="00:00:00:00:00:00", mtu=65536, master="", alias="")


def all_but_loopback(name: str) -> bool:
    return name != "lo"


def nothing(_: str) -> bool:
    return False


def observed(*links: Link, **entries: tuple[object, ...]) -> NamespaceState:
    return NamespaceState(links=(LO, *links), **entries)  # type: ignore[arg-type]


BRIDGE = Link("cni0", Bridge(), mac="02:00:00:00:00:01", mtu=1450, master="", alias="")
PORT = Link("veth1", Veth("", ""), mac="02:00:00:00:00:02", mtu=1450, master="cni0", hairpin=True, alias="mark")
OVERLAY = Link("flannel.1", Vxlan(1, 8472, "172.30.1.1", "eth0"), mac="02:00:00:00:00:03", mtu=1450, master="", alias="")
WANTED_PORT = replace(PORT, kind=Veth("eth0", "/run/netns/pod"))
ADDRESS = Address("cni0", "10.244.1.1/24")
ROUTE = Route("10.244.2.0/24", "flannel.1", "10.244.2.0", onlink=True)
ARP = Neighbour("flannel.1", "10.244.2.0", "02:00:00:00:00:09")
FDB = ForwardingEntry("flannel.1", "02:00:00:00:00:09", "172.30.1.2")
BLACKHOLE = Route("10.244.1.0/24", type="blackhole")
OTHER_BLACKHOLE = Route("192.0.2.0/24", type="blackhole")
MARKED = Link("cni0", Bridge(), alias="netlab:lab:cni0")
CONNECTED = Route("10.244.1.0/24", "cni0", source="10.244.1.1", connected=True)
SECOND = Address("cni0", "10.244.1.2/24")
VIA_BRIDGE = Route("10.7.0.0/16", "cni0", "10.244.1.9")
NEAR = Neighbour("cni0", "10.244.1.9", "02:00:00:00:00:19")
ON_BRIDGE = replace(OVERLAY, kind=Vxlan(1, 8472, "172.30.1.1", "cni0"))

CASES = [
    pytest.param(NamespaceState(), observed(), [], id="nothing wanted, nothing there"),
    pytest.param(NamespaceState(links=(BRIDGE, WANTED_PORT)), observed(BRIDGE, PORT), [], id="all there"),
    pytest.param(
        NamespaceState(links=(replace(BRIDGE, mac="02:00:00:00:00:0A"),)),
        observed(replace(BRIDGE, mac="02:00:00:00:00:0a")),
        [],
        id="a MAC is the same in capitals",
    ),
    pytest.param(NamespaceState(links=(Link("eth0"),)), observed(Link("eth0", mtu=1400)), [], id="None is not compared"),
    pytest.param(
        NamespaceState(links=(OVERLAY, WANTED_PORT, BRIDGE), addresses=(ADDRESS,)),
        observed(),
        [Operation(ADD, BRIDGE), Operation(ADD, WANTED_PORT), Operation(ADD, OVERLAY), Operation(SET, ADDRESS)],
        id="bridge before port, VXLAN last",
    ),
    pytest.param(
        NamespaceState(links=(OVERLAY,), routes=(ROUTE,), neighbours=(ARP,), forwarding=(FDB,)),
        observed(OVERLAY),
        [Operation(SET, ARP), Operation(SET, FDB), Operation(SET, ROUTE)],
        id="a remote node comes: ARP, FDB, route (semantics 2.16)",
    ),
    pytest.param(
        NamespaceState(links=(OVERLAY,)),
        observed(OVERLAY, routes=(ROUTE,), neighbours=(ARP,), forwarding=(FDB,)),
        [Operation(DELETE, ROUTE), Operation(DELETE, FDB), Operation(DELETE, ARP)],
        id="a remote node goes: route, FDB, ARP (semantics 2.18)",
    ),
    pytest.param(
        NamespaceState(),
        observed(OVERLAY, routes=(ROUTE,), neighbours=(ARP,), forwarding=(FDB,)),
        [Operation(DELETE, OVERLAY)],
        id="a link takes its entries along",
    ),
    pytest.param(
        NamespaceState(links=(replace(OVERLAY, kind=Vxlan(7, 8472, "172.30.1.1", "eth0")),), neighbours=(ARP,)),
        observed(OVERLAY, neighbours=(ARP,)),
        [
            Operation(DELETE, OVERLAY),
            Operation(ADD, replace(OVERLAY, kind=Vxlan(7, 8472, "172.30.1.1", "eth0"))),
            Operation(SET, ARP),
        ],
        id="another VNI: made again (semantics 2.21)",
    ),
    pytest.param(
        NamespaceState(links=(replace(OVERLAY, mac="02:00:00:00:00:44"),), neighbours=(ARP,)),
        observed(OVERLAY, neighbours=(ARP,)),
        [Operation(SET, Link("flannel.1", mac="02:00:00:00:00:44")), Operation(SET, ARP)],
        id="a new MAC empties the ARP table",
    ),
    pytest.param(
        NamespaceState(links=(BRIDGE, WANTED_PORT)),
        observed(BRIDGE, replace(PORT, hairpin=False)),
        [Operation(SET, Link("veth1", hairpin=True))],
        id="only what differs is set",
    ),
    pytest.param(
        NamespaceState(links=(BRIDGE, WANTED_PORT)),
        observed(replace(PORT, master="", hairpin=None)),
        [Operation(ADD, BRIDGE), Operation(SET, Link("veth1", master="cni0", hairpin=True))],
        id="a lost bridge comes back before its ports",
    ),
    pytest.param(
        NamespaceState(links=(BRIDGE, WANTED_PORT)),
        observed(replace(BRIDGE, kind=Veth("", "")), PORT),
        [
            Operation(DELETE, replace(BRIDGE, kind=Veth("", ""))),
            Operation(ADD, BRIDGE),
            Operation(SET, Link("veth1", master="cni0", hairpin=True)),
        ],
        id="a bridge made again gets its ports back",
    ),
    pytest.param(
        NamespaceState(links=(replace(BRIDGE, up=True),)),
        observed(replace(BRIDGE, up=False)),
        [Operation(SET, Link("cni0"))],
        id="set up",
    ),
    pytest.param(
        NamespaceState(links=(Link("eth0", mtu=1450),)),
        observed(),
        [Operation(SET, Link("eth0", mtu=1450))],
        id="a far end that is missing is asked for all the same",
    ),
    pytest.param(
        NamespaceState(addresses=(Address("lo", "198.51.100.1/32"),)),
        observed(addresses=(Address("lo", "127.0.0.1/8"),)),
        [Operation(SET, Address("lo", "198.51.100.1/32"))],
        id="an address more on lo",
    ),
    pytest.param(
        NamespaceState(sysctls={"net/ipv4/ip_forward": "1", "net/ipv4/conf/cni0/rp_filter": "0"}, links=(BRIDGE,)),
        NamespaceState(sysctls={"net/ipv4/ip_forward": "0", "net/ipv4/conf/cni0/rp_filter": "0"}),
        [
            Operation(SET, Sysctl("net/ipv4/ip_forward", "1")),
            Operation(ADD, BRIDGE),
            Operation(SET, Sysctl("net/ipv4/conf/cni0/rp_filter", "0")),
        ],
        id="settings first, those of a new link after it",
    ),
    pytest.param(
        NamespaceState(sysctls={"net/ipv6/conf/cni0/disable_ipv6": "1", "net/ipv4/ip_forward": "1"}, links=(BRIDGE,)),
        observed(replace(BRIDGE, mtu=1200), sysctls={"net/ipv4/ip_forward": "0"}),
        [
            Operation(SET, Sysctl("net/ipv4/ip_forward", "1")),
            Operation(SET, Link("cni0", mtu=1450)),
            Operation(SET, Sysctl("net/ipv6/conf/cni0/disable_ipv6", "1")),
        ],
        id="settings of a link that changes after it: below 1280 bytes it has none of IPv6",
    ),
    pytest.param(
        NamespaceState(links=(BRIDGE, ON_BRIDGE)),
        observed(replace(BRIDGE, kind=Veth("", "")), ON_BRIDGE),
        [
            Operation(DELETE, replace(BRIDGE, kind=Veth("", ""))),
            Operation(DELETE, ON_BRIDGE),
            Operation(ADD, BRIDGE),
            Operation(ADD, ON_BRIDGE),
        ],
        id="a VXLAN goes with its device, and comes with it",
    ),
    pytest.param(
        NamespaceState(links=(BRIDGE,), addresses=(ADDRESS,), routes=(VIA_BRIDGE,), neighbours=(NEAR,)),
        observed(BRIDGE, addresses=(Address("cni0", "10.9.9.9/24"), ADDRESS), routes=(VIA_BRIDGE,), neighbours=(NEAR,)),
        [Operation(DELETE, Address("cni0", "10.9.9.9/24")), Operation(SET, NEAR), Operation(SET, VIA_BRIDGE)],
        id="an address may take its device's routes and ARP entries along: they are set again",
    ),
    pytest.param(
        NamespaceState(links=(BRIDGE,), addresses=(SECOND,)),
        observed(BRIDGE, addresses=(ADDRESS, SECOND)),
        [Operation(DELETE, ADDRESS), Operation(SET, SECOND)],
        id="the first address of a subnet may take the second along: it is set again",
    ),
    pytest.param(
        NamespaceState(links=(BRIDGE,), addresses=(ADDRESS, SECOND), routes=(VIA_BRIDGE,)),
        observed(BRIDGE, addresses=(ADDRESS, SECOND), connected=()),
        [Operation(SET, CONNECTED), Operation(SET, VIA_BRIDGE)],
        id="a flushed table: the connected route first, one per subnet (S4)",
    ),
    pytest.param(
        NamespaceState(links=(BRIDGE,), addresses=(ADDRESS,)),
        observed(BRIDGE, addresses=(ADDRESS,), connected=(CONNECTED,)),
        [],
        id="the connected route is there",
    ),
    pytest.param(
        NamespaceState(links=(BRIDGE,), addresses=(ADDRESS,)),
        observed(replace(BRIDGE, up=False), addresses=(ADDRESS,), connected=()),
        [Operation(SET, Link("cni0"))],
        id="a link that comes up brings its connected routes",
    ),
    pytest.param(
        NamespaceState(links=(OVERLAY,), addresses=(Address("flannel.1", "10.244.1.0/32"), Address("lo", "10.0.0.1/8"))),
        observed(OVERLAY, addresses=(Address("flannel.1", "10.244.1.0/32"), Address("lo", "10.0.0.1/8")), connected=()),
        [],
        id="a /32 and `lo` have no connected route",
    ),
]


@pytest.mark.parametrize(("desired", "present", "expected"), CASES)
def test_difference(desired: NamespaceState, present: NamespaceState, expected: list[Operation]):
    """The difference is exactly these steps, in this order."""
    assert tuple(expected) == diff(desired, present, all_but_loopback)


def test_foreign_things_stay():
    """What sits on links that the caller does not own is left alone."""
    present = observed(BRIDGE, OVERLAY, addresses=(ADDRESS,), routes=(ROUTE,), neighbours=(ARP,), forwarding=(FDB,))

    assert () == diff(NamespaceState(), present, nothing)


def test_owner_of_loopback_keeps_it():
    """Who owns `lo` deletes load balancer addresses from it, never `lo` or 127.0.0.1."""
    present = observed(addresses=(Address("lo", "127.0.0.1/8"), Address("lo", "198.51.100.1/32")))
    expected = (Operation(DELETE, Address("lo", "198.51.100.1/32")),)

    assert expected == diff(NamespaceState(), present, {"lo"}.__contains__)


def test_a_link_that_was_renamed_is_deleted():
    """It is known by its mark: nobody answers for links of its new name, but it is in the way (S4). Another's stays."""
    renamed, others = replace(MARKED, name="foo0"), replace(MARKED, name="bar0", alias="netlab:other:cni0")

    steps = diff(
        NamespaceState(links=(MARKED,)), observed(renamed, others, replace(others, name="baz0", alias="")), lambda _: False
    )

    assert (Operation(DELETE, renamed), Operation(ADD, MARKED)) == steps


def test_settings_of_a_link_that_is_not_there():
    """A setting of an interface that somebody else makes is written as soon as there is one."""
    path = "net/ipv4/conf/flannel.1/forwarding"
    wanted = NamespaceState(sysctls={path: "1", "net/ipv4/conf/all/forwarding": "1"})
    without = diff(wanted, observed(), all_but_loopback)
    there = diff(wanted, replace(observed(OVERLAY), sysctls={path: "0"}), lambda _: False)

    assert ["net/ipv4/conf/all/forwarding"] == [operation.item.path for operation in without]
    assert [path, "net/ipv4/conf/all/forwarding"] == [operation.item.path for operation in there]


def test_a_blackhole_in_the_place_of_a_connected_route():
    """What somebody put in its place is deleted (S4); another route without device is somebody else's affair."""
    wanted = NamespaceState(links=(BRIDGE,), addresses=(ADDRESS,))
    present = observed(BRIDGE, addresses=(ADDRESS,), routes=(BLACKHOLE, OTHER_BLACKHOLE), connected=())

    assert (Operation(DELETE, BLACKHOLE), Operation(SET, CONNECTED)) == diff(wanted, present, lambda device: device == "cni0")
