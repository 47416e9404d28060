from __future__ import annotations

import pytest

from netlab.dataplane import bridge, fabric, pod
from netlab.dataplane.state import (
    Address,
    Bridge,
    ForwardingEntry,
    Link,
    Neighbour,
    Operation,
    Route,
    Sysctl,
    Verb,
    Veth,
    Vxlan,
)

ADD, SET, DELETE = Verb.ADD, Verb.SET, Verb.DELETE

# ---- operations as commands
HAIRPIN = "bridge link set dev v1 hairpin on"
COMMANDS = [
    (
        Operation(ADD, Link("v1", Veth("eth0", "/run/netns/pod", "0a:58:0a:f4:01:02"), master="br0", hairpin=True)),
        "ip link add dev v1 master br0 up type veth peer name eth0 address 0a:58:0a:f4:01:02 netns pod; " + HAIRPIN,
    ),
    (Operation(ADD, Link("cni0", Bridge())), "ip link add dev cni0 up type bridge stp_state 0 forward_delay 0"),
    (
        Operation(ADD, Link("flannel.1", Vxlan(1, 8472, "172.30.1.1", "eth0"), mtu=1450)),
        "ip link add dev flannel.1 mtu 1450 up type vxlan id 1 dstport 8472 local 172.30.1.1 dev eth0 nolearning",
    ),
    (Operation(SET, Link("eth0", mac="02:00:00:00:00:01", up=False)), "ip link set dev eth0 address 02:00:00:00:00:01 down"),
    (Operation(SET, Link("veth1", master="", hairpin=False)),
     "ip link set dev veth1 nomaster up; bridge link set dev veth1 hairpin off"),
    (Operation(DELETE, Link("flannel.1")), "ip link delete dev flannel.1"),
    (Operation(ADD, Address("cni0", "10.244.1.1/24")), "ip address add 10.244.1.1/24 dev cni0"),
    (Operation(SET, Route("0.0.0.0/0", "eth0", "10.244.1.1")), "ip route replace default via 10.244.1.1 dev eth0"),
    (
        Operation(SET, Route("10.244.2.0/24", "flannel.1", "10.244.2.0", onlink=True)),
        "ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
    ),
    (Operation(DELETE, Route("10.9.0.0/16", type="blackhole")), "ip route delete blackhole 10.9.0.0/16"),
    (
        Operation(SET, Neighbour("flannel.1", "10.244.2.0", "02:00:00:00:00:02")),
        "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent",
    ),
    (
        Operation(DELETE, ForwardingEntry("flannel.1", "02:00:00:00:00:02", "172.30.1.2")),
        "bridge fdb delete 02:00:00:00:00:02 dev flannel.1 dst 172.30.1.2 self permanent",
    ),
    (Operation(SET, Sysctl("net/ipv4/conf/flannel.1/rp_filter", "0")), "sysctl -w net/ipv4/conf/flannel.1/rp_filter=0"),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "command"), COMMANDS, ids=[c for _, c in COMMANDS])
def test_operation_prints_as_its_command(operation: Operation, command: str):
    """What is printed can be pasted."""
    assert command == str(operation)


# ---- pods and their bridge
SANDBOX = pod.Sandbox(
    "lab", "default", "blue", "uid", "/run/netns/lab-default-blue", "10.244.1.2/24", "10.244.1.1", "10.244.0.0/16"
)


def test_pod_has_one_interface_and_two_routes():
    """eth0 with the node's prefix length, MTU 1450, the default route and the pod network's, as flannel's CNI gives them."""
    state = pod.pod_state(SANDBOX)

    eth0 = ("eth0", None, "0a:58:0a:f4:01:02", 1450)
    assert [("lo", None, None, None), eth0] == [(x.name, x.kind, x.mac, x.mtu) for x in state.links]
    assert (Address("lo", "127.0.0.1/8"), Address("eth0", "10.244.1.2/24")) == state.addresses
    assert {("0.0.0.0/0", "10.244.1.1"), ("10.244.0.0/16", "10.244.1.1")} == {(r.destination, r.gateway) for r in state.routes}


def test_port_is_in_hairpin_mode():
    """A pod reaches itself through a Service (semantics 6.8): its port sends frames back where they came from."""
    link = pod.node_link(SANDBOX)

    assert ("cni0", True, 1450) == (link.master, link.hairpin, link.mtu)
    assert Veth("eth0", "/run/netns/lab-default-blue", "0a:58:0a:f4:01:02") == link.kind
    assert "netlab:lab:default/blue" == link.alias


def test_bridge_holds_the_gateway():
    """cni0 has the subnet's first address and lets the node route (semantics 3.25, 3.26)."""
    state = bridge.cni_bridge("lab", "10.244.1.0/24")

    assert (Address("cni0", "10.244.1.1/24"),) == state.addresses
    assert ("cni0", Bridge(), "0a:58:0a:f4:01:01", 1450) == (
        state.links[0].name, state.links[0].kind, state.links[0].mac, state.links[0].mtu,
    )  # fmt: skip
    assert {"net/ipv4/ip_forward": "1"} == state.sysctls


# ---- the fabric
NODE = fabric.Host("node1", fabric.Role.NODE, "/run/netns/lab-node1", "172.30.1.1/16", gateway="172.30.0.1")
EDGE = fabric.Host("edge", fabric.Role.EDGE, "/run/netns/lab-edge", "172.30.0.1/16", "203.0.113.1/24")
CLIENT = fabric.Host("client", fabric.Role.CLIENT, "/run/netns/lab-client", "", "203.0.113.10/24", "203.0.113.1")


def test_fabric_cables_every_host():
    """Two bridges; nodes on the underlay, clients outside, the edge on both."""
    links = fabric.fabric_state("lab", "172.30.0.2/16", [NODE, EDGE, CLIENT]).links
    cables = [(x.name, x.master, x.kind.peer_name, x.kind.peer_namespace) for x in links if isinstance(x.kind, Veth)]

    assert ["underlay", "outside"] == [x.name for x in links if isinstance(x.kind, Bridge)]
    assert [
        ("u-node1", "underlay", "eth0", "/run/netns/lab-node1"),
        ("u-edge", "underlay", "eth0", "/run/netns/lab-edge"),
        ("o-edge", "outside", "eth1", "/run/netns/lab-edge"),
        ("o-client", "outside", "eth0", "/run/netns/lab-client"),
    ] == cables


EVERY_INTERFACE = {f"net/ipv4/conf/{name}/forwarding": "1" for name in ("eth0", "cni0", "flannel.1")}
HOSTS = [
    (NODE, ["eth0"], "172.30.0.1", {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1", **EVERY_INTERFACE}),
    (EDGE, ["eth0", "eth1"], "", {"net/ipv4/ip_forward": "1", "net/ipv4/conf/eth1/rp_filter": "0"}),
    (CLIENT, ["eth0"], "203.0.113.1", {"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/disable_ipv6": "1"}),
]


@pytest.mark.parametrize(("host", "devices", "gateway", "sysctls"), HOSTS, ids=lambda x: getattr(x, "name", ""))
def test_host_by_role(host: fabric.Host, devices: list[str], gateway: str, sysctls: dict[str, str]):
    """A host's interfaces, default route and settings follow from its role (semantics 18.1, 18.25)."""
    state = fabric.host_state("lab", host, ["flannel.1"])

    assert ["lo", *devices] == [link.name for link in state.links]
    assert [gateway] * bool(gateway) == [route.gateway for route in state.routes]
    assert sysctls.items() <= state.sysctls.items()


def test_far_ends_agree_with_the_fabric():
    """The MAC address that a cable gives its far end is the one the host wants."""
    links = fabric.fabric_state("lab", "172.30.0.2/16", [EDGE]).links

    far = [x.mac for x in fabric.host_state("lab", EDGE).links if x.name != "lo"]
    assert far == [x.kind.peer_mac for x in links if isinstance(x.kind, Veth)]


NAMES = ["node1", "a-node-with-quite-a-long-name", "a-node-with-quite-a-long-name-2", "x" * 63]


def test_cable_names_fit_and_differ():
    """However long hosts' names are, cables have different names of at most 15 characters."""
    names = [fabric.cable_name(where, name) for where in (fabric.UNDERLAY, fabric.OUTSIDE) for name in NAMES]

    assert len(names) == len(set(names))
    assert max(map(len, names)) <= 15
