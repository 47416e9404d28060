"""What only the real kernel shows: threads and their namespaces, packets, and names that others see too."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from netlab.dataplane import bridge, fabric, pod
from netlab.dataplane.diff import diff
from netlab.dataplane.state import NamespaceState
from netlab.errors import KernelError
from netlab.kernel import namespaces
from netlab.kernel.linux import LinuxKernel
from netlab.overlay import vxlan

pytestmark = pytest.mark.netns

MakeNamespace = Callable[[str], str]
PATIENCE = 30  # seconds for what must come


def own_namespace() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def test_thread_returns_whatever_happens(linux: LinuxKernel, make_namespace: MakeNamespace):
    """After a block inside a namespace, left by an exception, the thread is where it was."""
    path, before, within = make_namespace("a"), own_namespace(), []

    def fail() -> None:
        with linux.inside(path):
            within.append(own_namespace())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert before == own_namespace()
    assert before not in within


def test_other_threads_stay_where_they_are(linux: LinuxKernel, make_namespace: MakeNamespace):
    """Entering a namespace concerns the calling thread alone."""
    path, before, seen = make_namespace("a"), own_namespace(), []
    entered = threading.Event()

    def look() -> None:
        assert entered.wait(PATIENCE)
        seen.append(own_namespace())

    thread = threading.Thread(target=look)
    thread.start()
    with linux.inside(path):
        entered.set()
        thread.join()

    assert [before] == seen


def test_many_threads_work_at_once(linux: LinuxKernel, make_namespace: MakeNamespace):
    """One LinuxKernel serves all threads."""
    paths = [make_namespace(str(i)) for i in range(8)]
    before = own_namespace()
    seen: dict[str, list[str]] = {}

    def observe(path: str) -> None:
        seen[path] = [link.name for _ in range(20) for link in linux.observe(path).links] + [own_namespace()]

    threads = [threading.Thread(target=observe, args=[path]) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    expected = [*["lo"] * 20, before]

    assert [expected] * 8 == [seen[path] for path in paths]


def test_socket_stays_where_it_was_made(linux: LinuxKernel, make_namespace: MakeNamespace):
    """A listening socket made inside answers inside, and nobody else."""
    path = make_namespace("a")
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))  # out here the port is ours, so nobody listens there
        address = ours.getsockname()
        with linux.inside(path):
            server = socket.create_server(address)
        with server:
            with linux.inside(path), socket.create_connection(address, timeout=PATIENCE) as client:
                inside = client.getpeername()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, timeout=PATIENCE).close()

    assert address == inside


def test_mere_file_is_no_namespace(linux: LinuxKernel, prefix: str):
    """A name left over by a crash is not alive, and is used again by the next creation."""
    path = Path(f"/run/netns/{prefix}-stale")
    path.parent.mkdir(exist_ok=True)
    path.touch()
    stale = linux.namespace_exists(str(path))
    with pytest.raises(KernelError, match="no network namespace"):
        linux.observe(str(path))
    linux.create_namespaces([str(path)])
    alive = linux.namespace_exists(str(path))
    linux.delete_namespaces([str(path)])

    assert (False, True, False) == (stale, alive, path.exists())


def test_ip_netns_knows_the_names(make_namespace: MakeNamespace, prefix: str, linux: LinuxKernel):
    """`ip netns exec` works on what we made."""
    path = make_namespace("a")
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    inside = subprocess.run(
        ["ip", "netns", "exec", f"{prefix}-a", "ip", "-br", "link"], capture_output=True, text=True, check=True
    )

    assert f"{prefix}-a" in listed
    assert inside.stdout.startswith("lo ")
    assert linux.namespace_exists(path)


def test_ones_own_namespace_needs_no_way_in():
    """A thread is in its own namespace already, so being inside it changes nothing and asks for nothing."""
    before = own_namespace()
    with namespaces.inside(namespaces.OWN):
        within = own_namespace()

    assert before == within == own_namespace()


# ---- packets
def lab(linux: LinuxKernel, make_namespace: MakeNamespace) -> dict[str, str]:
    """Make two nodes with a pod each, and return the namespaces' paths by name."""
    names = ("fabric", "node1", "node2", "edge", "client", "pod1", "pod2")
    paths = {name: make_namespace(name) for name in names}
    hosts = [
        fabric.Host("node1", fabric.Role.NODE, paths["node1"], "172.30.1.1/16", gateway="172.30.0.1"),
        fabric.Host("node2", fabric.Role.NODE, paths["node2"], "172.30.1.2/16", gateway="172.30.0.1"),
        fabric.Host("edge", fabric.Role.EDGE, paths["edge"], "172.30.0.1/16", "203.0.113.1/24"),
        fabric.Host("client", fabric.Role.CLIENT, paths["client"], "", "203.0.113.10/24", "203.0.113.1"),
    ]
    leases = [vxlan.VxlanLease(f"node{i}", f"10.244.{i}.0/24", f"172.30.1.{i}", f"02:00:00:00:00:0{i}") for i in (1, 2)]

    def converge(path: str, wanted: NamespaceState, owns: Callable[[str], bool]) -> None:
        linux.perform(path, diff(wanted, linux.observe(path, sysctls=tuple(wanted.sysctls)), owns))

    converge(paths["fabric"], fabric.fabric_state("lab", "172.30.0.2/16", hosts), fabric.owns_in_fabric)
    for host in hosts:
        converge(host.path, fabric.host_state("lab", host, ["flannel.1"]), fabric.owns_in_host)
    for i, lease in enumerate(leases, 1):
        node, sandbox = paths[f"node{i}"], sandbox_of(i, paths[f"pod{i}"])
        converge(node, vxlan.overlay("lab", lease, leases).state.whole, {"flannel.1"}.__contains__)
        ports = bridge.cni_bridge("lab", lease.subnet)
        wanted = NamespaceState((*ports.links, pod.node_link(sandbox)), ports.addresses, sysctls=ports.sysctls)
        converge(node, wanted, lambda name: name == "cni0" or name.startswith("veth"))
        converge(sandbox.path, pod.pod_state(sandbox), pod.owns)
    return paths


def sandbox_of(i: int, path: str) -> pod.Sandbox:
    return pod.Sandbox("lab", "default", f"pod{i}", "uid", path, f"10.244.{i}.2/24", f"10.244.{i}.1", "10.244.0.0/16")


UDP_PATHS = [
    pytest.param("pod1", "pod2", "10.244.2.2", "10.244.1.2", id="pod to pod on another node"),
    pytest.param("pod1", "node1", "10.244.1.1", "10.244.1.2", id="pod to its node"),
    pytest.param("node1", "pod2", "10.244.2.2", "10.244.1.0", id="node to pod elsewhere, from flannel.1's address"),
    pytest.param("client", "node2", "172.30.1.2", "203.0.113.10", id="outside to node, through the edge"),
    pytest.param("node1", "client", "203.0.113.10", "172.30.1.1", id="node to outside"),
    pytest.param("node2", "fabric", "172.30.0.2", "172.30.1.2", id="node to API server"),
]


@pytest.mark.parametrize(("source", "destination", "address", "seen"), UDP_PATHS)
def test_datagram_arrives_with_its_source(
    linux: LinuxKernel, make_namespace: MakeNamespace, source: str, destination: str, address: str, seen: str
):
    """A full datagram (1422 bytes: the pod MTU's) arrives unfragmented, from the sender's own address (semantics 1.2, 2.15)."""
    paths = lab(linux, make_namespace)
    with linux.inside(paths[destination]):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("0.0.0.0", 4000))
        server.settimeout(PATIENCE)
    with linux.inside(paths[source]):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: do
    with server, client:
        client.sendto(bytes(1422), (address, 4000))
        received, peer = server.recvfrom(2048)

    assert (1422, seen) == (len(received), peer[0])


def test_outside_does_not_reach_pods(linux: LinuxKernel, make_namespace: MakeNamespace):
    """The edge has no route to pods: the outside is told that the network is unreachable."""
    paths = lab(linux, make_namespace)
    with linux.inside(paths["client"]):
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(PATIENCE)
    with client, pytest.raises(OSError, match="Network is unreachable"):
        client.connect(("10.244.1.2", 80))


def test_overlay_wraps_the_frame(linux: LinuxKernel, make_namespace: MakeNamespace):
    """On the wire: outer node addresses, UDP 8472, VNI 1; inner addresses are the pods' own (semantics 2.24)."""
    paths = lab(linux, make_namespace)
    with linux.inside(paths["node2"]):
        capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        capture.bind(("eth0", 0))
        capture.settimeout(PATIENCE)
    with linux.inside(paths["pod1"]):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with capture, client:
        client.sendto(b"x", ("10.244.2.2", 4000))
        frame = capture.recv(2048)
    outer_source, outer_destination = (socket.inet_ntoa(frame[i : i + 4]) for i in (26, 30))
    inner_mac, inner_source, inner_destination = frame[50:56].hex(":"), frame[76:80], frame[80:84]

    assert ("172.30.1.1", "172.30.1.2", 8472) == (outer_source, outer_destination, *struct.unpack("!H", frame[36:38]))
    assert 1 == int.from_bytes(frame[46:49], "big")
    assert "02:00:00:00:00:02" == inner_mac
    assert ("10.244.1.2", "10.244.2.2") == (socket.inet_ntoa(inner_source), socket.inet_ntoa(inner_destination))


def test_no_ipv6_on_the_wire(linux: LinuxKernel, make_namespace: MakeNamespace):
    """No interface of a lab has an IPv6 address, so captures hold no router solicitations or MLD reports."""
    paths = lab(linux, make_namespace)
    listed, addresses = Path("/proc/thread-self/net/if_inet6"), []
    for path in paths.values():
        with linux.inside(path):
            addresses.append(listed.read_text() if listed.exists() else "")  # a kernel may have no IPv6

    assert [""] * len(paths) == addresses
