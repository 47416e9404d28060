"""The contract of netlab.kernel for namespaces, links and entries, run against the kernel and its fake."""

from __future__ import annotations

import errno
import select
import subprocess
from collections.abc import Callable

import pytest

from netlab.dataplane import bridge, fabric, pod
from netlab.dataplane.diff import diff
from netlab.dataplane.state import (
    KERNEL_RULES,
    LOCAL_TABLE,
    Address,
    Bridge,
    ForwardingEntry,
    Link,
    NamespaceState,
    Neighbour,
    Operation,
    Route,
    Rule,
    Sysctl,
    Verb,
    Veth,
    Vxlan,
)
from netlab.errors import KernelError
from netlab.kernel.door import Kernel
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.monitor import ANY
from netlab.overlay import vxlan

pytestmark = pytest.mark.netns

MakeNamespace = Callable[[str], str]
LAB = "lab"
ADD, SET, DELETE = Verb.ADD, Verb.SET, Verb.DELETE
BRIDGE = Link("br0", Bridge(), mac="02:00:00:00:00:01", mtu=1500, alias="netlab:lab:br0")


def everything(name: str) -> bool:
    return name not in {"", "lo"}


def converge(kernel: Kernel, path: str, wanted: NamespaceState, owns: Callable[[str], bool] = everything) -> int:
    """Do the difference and return how many operations that took."""
    operations = diff(wanted, kernel.observe(path, sysctls=tuple(wanted.sysctls)), owns)
    kernel.perform(path, operations)
    return len(operations)


def link(kernel: Kernel, path: str, name: str) -> Link:
    return next(found for found in kernel.observe(path).links if found.name == name)


# ---- namespaces
def test_new_namespace_has_loopback_up(kernel: Kernel, make_namespace: MakeNamespace):
    """A new namespace holds `lo`, up, with its address, and nothing else (semantics 3.30)."""
    observed = kernel.observe(make_namespace("a"))

    assert [("lo", True)] == [(found.name, found.up) for found in observed.links]
    assert (Address("lo", "127.0.0.1/8"),) == observed.addresses
    assert () == observed.routes


def test_making_and_removing_twice_is_no_error(kernel: Kernel, make_namespace: MakeNamespace):
    """A namespace that exists is kept with its content; one that is gone may be removed again."""
    path = make_namespace("a")
    kernel.perform(path, [Operation(ADD, BRIDGE)])
    make_namespace("a")
    kept = "br0" in [found.name for found in kernel.observe(path).links]
    kernel.delete_namespaces([path])
    kernel.delete_namespaces([path])

    assert kept
    assert not kernel.namespace_exists(path)


def test_missing_namespace_is_named(kernel: Kernel):
    """Every use of a namespace that does not exist says which."""
    with pytest.raises(KernelError, match="/run/netns/nowhere") as caught:
        kernel.observe("/run/netns/nowhere")

    assert errno.ENOENT == caught.value.errno


# ---- a whole small lab
def small_lab(make_namespace: MakeNamespace) -> list[tuple[str, NamespaceState, Callable[[str], bool]]]:
    """Return the namespaces of two nodes with a pod each, an edge and a client, in the order to make them."""
    hosts = [
        fabric.Host("node1", fabric.Role.NODE, make_namespace("node1"), "172.30.1.1/16", gateway="172.30.0.1"),
        fabric.Host("node2", fabric.Role.NODE, make_namespace("node2"), "172.30.1.2/16", gateway="172.30.0.1"),
        fabric.Host("edge", fabric.Role.EDGE, make_namespace("edge"), "172.30.0.1/16", "203.0.113.1/24"),
        fabric.Host("client", fabric.Role.CLIENT, make_namespace("client"), "", "203.0.113.10/24", "203.0.113.1"),
    ]
    leases = [
        vxlan.VxlanLease(h.name, f"10.244.{i}.0/24", f"172.30.1.{i}", f"02:00:00:00:00:0{i}") for i, h in enumerate(hosts[:2], 1)
    ]
    steps = [(make_namespace("fabric"), fabric.fabric_state(LAB, "172.30.0.2/16", hosts), fabric.owns_in_fabric)]
    steps += [(host.path, fabric.host_state(LAB, host, ["flannel.1"]), fabric.owns_in_host) for host in hosts]
    for host, lease in zip(hosts, leases, strict=False):
        steps.append((host.path, vxlan.overlay(LAB, lease, leases).state.whole, {"flannel.1"}.__contains__))
        gateway = bridge.gateway_of(lease.subnet)
        sandbox = pod.Sandbox(
            LAB, "default", f"pod-{host.name}", "uid", make_namespace(f"pod-{host.name}"),
            gateway.replace(".1/", ".2/"), gateway.partition("/")[0], "10.244.0.0/16",
        )  # fmt: skip
        ports = bridge.cni_bridge(LAB, lease.subnet)
        neighbours = (pod.node_neighbour(sandbox.address),)
        wanted = NamespaceState(
            (*ports.links, pod.node_link(sandbox)), ports.addresses, neighbours=neighbours, sysctls=ports.sysctls
        )
        steps.append((host.path, wanted, lambda name: name == "cni0" or name.startswith("veth")))
        steps.append((sandbox.path, pod.pod_state(sandbox), pod.owns))
    return steps


def test_second_run_does_nothing(kernel: Kernel, make_namespace: MakeNamespace):
    """Every namespace of a lab is made in one pass, and a second pass finds no work in any (principle 4)."""
    steps = small_lab(make_namespace)
    first = [converge(kernel, *step) for step in steps]
    second = [converge(kernel, *step) for step in steps]

    assert all(first)
    assert [0] * len(steps) == second


def test_routing_rules_and_their_tables(kernel: Kernel, make_namespace: MakeNamespace):
    """Rules, and the routes of the tables they name, are made in one pass and found again; else the kernel's own are there."""
    path = make_namespace("router")
    rules = (Rule(100, 10257, 0x1010000, 0xFFFF0000), Rule(200, LOCAL_TABLE), *KERNEL_RULES[1:])
    route = Route("0.0.0.0/0", "br", "172.30.1.1", table=10257)
    wanted = NamespaceState((Link("br", Bridge()),), (Address("br", "172.30.0.1/16"),), (route,), rules=rules)
    fresh = kernel.observe(path, policy=True)
    kernel.perform(path, diff(wanted, fresh, lambda name: name == "br"))
    made, plain = kernel.observe(path, policy=True), kernel.observe(path)
    kernel.perform(path, diff(NamespaceState(rules=KERNEL_RULES), made, lambda _: False))

    assert (KERNEL_RULES, rules, KERNEL_RULES) == (fresh.rules, made.rules, kernel.observe(path, policy=True).rules)
    assert ((route,), ()) == (made.routes, diff(wanted, made, lambda name: name == "br"))
    assert ((), None) == (plain.routes, plain.rules)


REMOTE = "10.244.2.0"
DAMAGE = [
    pytest.param(Operation(DELETE, ForwardingEntry("flannel.1", "02:00:00:00:00:02", "172.30.1.2")), id="fdb entry deleted"),
    pytest.param(Operation(DELETE, Neighbour("flannel.1", REMOTE, "02:00:00:00:00:02")), id="arp entry deleted"),
    pytest.param(Operation(DELETE, Route(f"{REMOTE}/24", "flannel.1", REMOTE, onlink=True)), id="route deleted"),
    pytest.param(Operation(SET, Route(f"{REMOTE}/24", "eth0", "172.30.0.1")), id="route replaced"),
    pytest.param(Operation(SET, Neighbour("flannel.1", REMOTE, "02:00:00:00:00:99")), id="wrong mac in arp"),
    pytest.param(Operation(SET, ForwardingEntry("flannel.1", "02:00:00:00:00:02", "172.30.1.9")), id="wrong vtep in fdb"),
    pytest.param(Operation(SET, ForwardingEntry("flannel.1", "02:00:00:00:00:77", "172.30.1.9")), id="extra fdb entry"),
    pytest.param(Operation(SET, Neighbour("flannel.1", "10.244.7.0", "02:00:00:00:00:77")), id="extra arp entry"),
    pytest.param(Operation(ADD, Address("flannel.1", "10.244.1.7/32")), id="extra address"),
    pytest.param(Operation(DELETE, Address("flannel.1", "10.244.1.0/32")), id="address deleted, routes gone with it"),
    pytest.param(Operation(SET, Link("flannel.1", mac="02:00:00:00:00:55")), id="mac changed, arp table emptied"),
    pytest.param(Operation(SET, Link("flannel.1", up=False)), id="set down"),
    pytest.param(Operation(SET, Link("flannel.1", mtu=1200)), id="wrong mtu"),
    pytest.param(Operation(DELETE, Link("flannel.1")), id="device deleted"),
    pytest.param(Operation(SET, Sysctl("net/ipv4/ip_forward", "0")), id="ip_forward off"),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_the_overlay_is_repaired_in_one_pass(kernel: Kernel, make_namespace: MakeNamespace, damage: Operation):
    """Whatever is broken on a node is found, repaired at once, and then there is nothing left to do (semantics 2.22)."""
    steps = small_lab(make_namespace)
    for step in steps:
        converge(kernel, *step)
    path, node, overlay = steps[1][0], steps[1][1], steps[5][1]
    wanted = NamespaceState(
        (*node.links, *overlay.links),
        (*node.addresses, *overlay.addresses),
        (*node.routes, *overlay.routes),
        overlay.neighbours,
        overlay.forwarding,
        {**node.sysctls, **overlay.sysctls},
    )
    kernel.perform(path, [damage])
    owns = {"eth0", "flannel.1"}.__contains__
    repairs = [converge(kernel, path, wanted, owns) for _ in range(2)]

    assert repairs[0] > 0
    assert 0 == repairs[1]


# ---- what diff foresees
TWO_IN_ONE_SUBNET = ("10.0.0.1/24", "10.0.0.2/24")
BEFORE = NamespaceState(
    links=(BRIDGE,),
    addresses=tuple(Address("br0", address) for address in TWO_IN_ONE_SUBNET),
    routes=(Route("10.9.0.0/16", "br0", "10.0.0.9"), Route("10.8.0.0/16", type="blackhole")),
)
AFTER = [
    pytest.param(NamespaceState((BRIDGE,), BEFORE.addresses[1:], BEFORE.routes), id="first address of a subnet goes"),
    pytest.param(
        NamespaceState((BRIDGE,), (Address("br0", "10.0.0.7/24"),), BEFORE.routes), id="all addresses of a device change"
    ),
    pytest.param(NamespaceState((BRIDGE,), BEFORE.addresses, BEFORE.routes[1:]), id="a route goes"),
    pytest.param(
        NamespaceState((BRIDGE,), BEFORE.addresses, (Route("10.9.0.0/16", "br0", source="10.0.0.1"), BEFORE.routes[1])),
        id="a route changes its gateway and source",
    ),
    pytest.param(NamespaceState(routes=BEFORE.routes[1:]), id="the device goes with all that is on it"),
    pytest.param(NamespaceState((Link("br0", Bridge(), mtu=1400),), BEFORE.addresses, BEFORE.routes), id="mtu changes"),
]


@pytest.mark.parametrize("after", AFTER)
def test_change_takes_one_pass(kernel: Kernel, make_namespace: MakeNamespace, after: NamespaceState):
    """The kernel's own doings on the way (secondaries, routes that vanish) are foreseen."""
    path = make_namespace("a")
    converge(kernel, path, BEFORE)
    passes = [converge(kernel, path, after, lambda name: name != "lo") for _ in range(2)]

    assert passes[0] > 0
    assert 0 == passes[1]


VXLAN = Vxlan(1, 8472, "10.0.0.1", "br0")
INCOMPATIBLE = [Vxlan(2, 8472, "10.0.0.1", "br0"), Vxlan(1, 4789, "10.0.0.1", "br0"), Vxlan(1, 8472, "10.0.0.2", "br0")]


@pytest.mark.parametrize("kind", INCOMPATIBLE, ids=str)
def test_incompatible_vxlan_is_made_again(kernel: Kernel, make_namespace: MakeNamespace, kind: Vxlan):
    """Another VNI, port or local address means another device, with all its entries (semantics 2.21)."""
    path = make_namespace("a")
    entries = (Neighbour("flannel.1", "10.1.0.0", "02:00:00:00:00:09"),)
    for each in (VXLAN, kind):
        wanted = NamespaceState((BRIDGE, Link("flannel.1", each, mtu=1450)), BEFORE.addresses, neighbours=entries)
        converge(kernel, path, wanted)

    assert kind == link(kernel, path, "flannel.1").kind
    assert entries == kernel.observe(path).neighbours


def test_bridge_made_again_gets_its_ports_back(kernel: Kernel, make_namespace: MakeNamespace):
    """When cni0 is deleted its ports are freed; one pass brings it back with the ports in hairpin mode (semantics 6.8)."""
    path = make_namespace("a")
    port = Link("veth0", Veth("eth0", make_namespace("b")), mtu=1450, master="br0", hairpin=True)
    converge(kernel, path, NamespaceState((BRIDGE, port)))
    kernel.perform(path, [Operation(DELETE, Link("br0"))])
    freed = link(kernel, path, "veth0")
    converge(kernel, path, NamespaceState((BRIDGE, port)))
    joined = link(kernel, path, "veth0")

    assert ("", None) == (freed.master, freed.hairpin)
    assert ("br0", True) == (joined.master, joined.hairpin)


def test_hairpin_turned_off_by_hand_is_turned_on(kernel: Kernel, make_namespace: MakeNamespace):
    """A port's hairpin mode is part of its state."""
    path = make_namespace("a")
    port = Link("veth0", Veth("eth0", make_namespace("b")), master="br0", hairpin=True)
    converge(kernel, path, NamespaceState((BRIDGE, port)))
    kernel.perform(path, [Operation(SET, Link("veth0", hairpin=False))])
    broken = link(kernel, path, "veth0").hairpin
    steps = converge(kernel, path, NamespaceState((BRIDGE, port)))

    assert broken is False
    assert 1 == steps
    assert link(kernel, path, "veth0").hairpin is True


def test_pair_goes_with_either_namespace(kernel: Kernel, make_namespace: MakeNamespace):
    """A veth's far end appears down in the other namespace with MAC and MTU, and goes when this end goes."""
    near, far = make_namespace("a"), make_namespace("b")
    pair = Link("veth0", Veth("eth0", far, "02:00:00:00:00:0e"), mtu=1400)
    kernel.perform(near, [Operation(ADD, pair)])
    made = link(kernel, far, "eth0")
    kernel.perform(near, [Operation(DELETE, Link("veth0"))])

    assert ("02:00:00:00:00:0e", 1400, False, "") == (made.mac, made.mtu, made.up, made.alias)
    assert ["lo"] == [found.name for found in kernel.observe(far).links]


def test_device_named_in_no_encoding(linux: LinuxKernel, make_namespace: MakeNamespace):
    """The kernel takes any bytes as a device's name; such a stranger does not keep the rest from being observed."""
    path = make_namespace("a")
    subprocess.run([b"ip", b"-n", path.rpartition("/")[2].encode(), b"link", b"add", b"\xff0", b"type", b"bridge"], check=True)

    assert ["lo", "\ufffd0"] == [found.name for found in linux.observe(path).links]


def test_bridge_keeps_its_mtu(kernel: Kernel, make_namespace: MakeNamespace):
    """A bridge does not follow its ports' MTU, neither when a smaller one joins nor when the last one leaves."""
    path, seen = make_namespace("a"), []
    port = Link("veth0", Veth("eth0", make_namespace("b")), mtu=1400, master="br0")
    for operation in (Operation(ADD, BRIDGE), Operation(ADD, port), Operation(DELETE, port)):
        kernel.perform(path, [operation])
        seen.append(link(kernel, path, "br0").mtu)

    assert [1500] * 3 == seen


# ---- refusals
REFUSALS = [
    pytest.param(Operation(ADD, BRIDGE), errno.EEXIST, id="link exists"),
    pytest.param(Operation(SET, Link("eth9", mtu=1400)), errno.ENODEV, id="link missing"),
    pytest.param(Operation(SET, Link("br0", master="br9")), errno.ENODEV, id="bridge missing"),
    pytest.param(Operation(ADD, Address("eth9", "10.0.0.1/24")), errno.ENODEV, id="device of address missing"),
    pytest.param(Operation(ADD, Address("br0", "10.0.0.1/24")), errno.EEXIST, id="address exists"),
    pytest.param(Operation(ADD, Route("0.0.0.0/0", "br0", "192.0.2.1")), errno.ENETUNREACH, id="gateway not on the link"),
    pytest.param(Operation(ADD, Link("v0", Veth("eth0", "/run/netns/nowhere"))), errno.ENOENT, id="peer namespace missing"),
]


@pytest.mark.parametrize(("operation", "number"), REFUSALS)
def test_refusal_names_the_operation(kernel: Kernel, make_namespace: MakeNamespace, operation: Operation, number: int):
    """The error shows the operation as a command, the namespace and the kernel's number; what came before stays."""
    path = make_namespace("a")
    first = [Operation(ADD, BRIDGE), Operation(ADD, Address("br0", "10.0.0.1/24"))]
    with pytest.raises(KernelError) as caught:
        kernel.perform(path, [*first, operation])

    assert number == caught.value.errno
    assert f"`{operation}` in namespace {path}" in caught.value.message
    assert Address("br0", "10.0.0.1/24") in kernel.observe(path).addresses


ABSENT = [
    Link("eth9"),
    Address("br0", "10.0.0.9/24"),
    Address("eth9", "10.0.0.9/24"),
    Route("10.9.0.0/16", "br0"),
    Neighbour("br0", "10.0.0.9", "02:00:00:00:00:09"),
    ForwardingEntry("eth9", "02:00:00:00:00:09", "10.0.0.9"),
]


@pytest.mark.parametrize("item", ABSENT, ids=lambda item: type(item).__name__)
def test_deleting_what_is_absent_succeeds(kernel: Kernel, make_namespace: MakeNamespace, item: Link):
    """Between observing and deleting somebody else may have deleted it: the wanted state holds."""
    path = make_namespace("a")
    kernel.perform(path, [Operation(ADD, BRIDGE), Operation(DELETE, item), Operation(ADD, Address("br0", "10.0.0.1/24"))])

    assert Address("br0", "10.0.0.1/24") in kernel.observe(path).addresses


def test_monitor_hears_what_happens_to_a_device(kernel: Kernel, make_namespace: MakeNamespace):
    """The descriptor is readable after a change, and names the device; then it is quiet (semantics 2.22)."""
    path, far = make_namespace("a"), make_namespace("far")
    kernel.perform(path, [Operation(ADD, Link("eth0", Veth("eth0", far))), Operation(SET, Address("eth0", "10.0.0.1/24"))])
    device = Link("flannel.1", Vxlan(1, 8472, "10.0.0.1", "eth0"))
    steps = [
        Operation(ADD, device),
        Operation(SET, Route("10.1.0.0/24", "flannel.1", "10.1.0.0", onlink=True)),
        Operation(DELETE, Route("10.1.0.0/24", "flannel.1", "10.1.0.0", onlink=True)),
        Operation(SET, Address("flannel.1", "10.1.1.0/32")),
        Operation(DELETE, Address("flannel.1", "10.1.1.0/32")),
        Operation(DELETE, device),
    ]
    monitor = kernel.monitor(path)
    heard = []
    try:
        for step in steps:
            kernel.perform(path, [step])
            readable, _, _ = select.select([monitor], [], [], 5)
            heard.append(bool(readable) and "flannel.1" in monitor.read())
        left = monitor.read()
    finally:
        monitor.close()

    assert [True] * len(steps) == heard
    assert frozenset() == left


def test_monitor_that_overflows_says_any_device(linux: LinuxKernel, make_namespace: MakeNamespace):
    """What the socket could not hold may have been about any device: nothing is lost silently."""
    path = make_namespace("a")
    linux.perform(path, [Operation(ADD, BRIDGE)])
    monitor = linux.monitor(path)
    addresses = [Address("br0", f"10.0.{high}.{low}/32") for high in range(20) for low in range(1, 200)]
    try:
        linux.perform(path, [Operation(SET, address) for address in addresses])
        devices = monitor.read()
    finally:
        monitor.close()

    assert ANY in devices
