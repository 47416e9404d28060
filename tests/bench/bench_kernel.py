"""How long the kernel's part of a lab takes: `python tests/bench/bench_kernel.py [PODS]` as root.

Prints seconds for: namespaces, the pods' links (one batch per node), the pods' own settings, observing, removal.
The quickstart's kernel work is `bench_kernel.py 10`; the comparison is `ip -batch` with 1000 pairs (1.7 s).
"""

from __future__ import annotations

import secrets
import sys
from time import perf_counter

from netlab.dataplane import bridge, fabric, pod
from netlab.dataplane.diff import diff
from netlab.dataplane.state import NamespaceState
from netlab.kernel.linux import LinuxKernel
from netlab.overlay import vxlan

LAB = f"bench{secrets.token_hex(3)}"
POD_SUBNET = "10.128.0.0/9"


def path(name: str) -> str:
    return f"/run/netns/{LAB}-{name}"


def hosts(nodes: int) -> list[fabric.Host]:
    """Return nodes, an edge and a client."""
    found = [
        fabric.Host(f"node{i}", fabric.Role.NODE, path(f"node{i}"), f"172.30.1.{i}/16", gateway="172.30.0.1")
        for i in range(1, nodes + 1)
    ]
    edge = fabric.Host("edge", fabric.Role.EDGE, path("edge"), "172.30.0.1/16", "203.0.113.1/24")
    client = fabric.Host("client", fabric.Role.CLIENT, path("client"), "", "203.0.113.10/24", "203.0.113.1")
    return [*found, edge, client]


def sandboxes(nodes: int, pods: int) -> dict[int, list[pod.Sandbox]]:
    """Spread pods over nodes."""
    found: dict[int, list[pod.Sandbox]] = {i: [] for i in range(1, nodes + 1)}
    for number in range(pods):
        node, host = number % nodes + 1, number // nodes + 2
        name = f"pod{number}"
        found[node].append(
            pod.Sandbox(LAB, "default", name, "uid", path(name), f"10.128.{node}.{host}/24", f"10.128.{node}.1", POD_SUBNET)
        )
    return found


class Bench:
    """One run, its steps timed."""

    def __init__(self, nodes: int, pods: int) -> None:
        self.kernel = LinuxKernel()
        self.hosts = hosts(nodes)
        self.sandboxes = sandboxes(nodes, pods)
        self.paths = [
            path("fabric"),
            *(h.path for h in self.hosts),
            *(s.path for group in self.sandboxes.values() for s in group),
        ]
        self.operations = 0

    def converge(self, where: str, wanted: NamespaceState, owns: object) -> None:
        steps = diff(wanted, self.kernel.observe(where, sysctls=tuple(wanted.sysctls)), owns)  # type: ignore[arg-type]
        self.kernel.perform(where, steps)
        self.operations += len(steps)

    def fabric(self) -> None:
        self.converge(path("fabric"), fabric.fabric_state(LAB, "172.30.0.2/16", self.hosts), fabric.owns_in_fabric)
        for host in self.hosts:
            self.converge(host.path, fabric.host_state(LAB, host, ["flannel.1"]), fabric.owns_in_host)

    def overlay(self) -> None:
        leases = [
            vxlan.VxlanLease(f"node{i}", f"10.128.{i}.0/24", f"172.30.1.{i}", vxlan.vtep_mac(LAB, f"node{i}", {}))
            for i in self.sandboxes
        ]
        for lease in leases:
            self.converge(path(lease.node), vxlan.overlay(LAB, lease, leases).state.whole, {"flannel.1"}.__contains__)

    def links(self) -> None:
        for node, group in self.sandboxes.items():
            ports = bridge.cni_bridge(LAB, f"10.128.{node}.0/24")
            wanted = NamespaceState((*ports.links, *(pod.node_link(s) for s in group)), ports.addresses, sysctls=ports.sysctls)
            self.converge(path(f"node{node}"), wanted, lambda name: name == "cni0" or name.startswith("veth"))

    def pods(self) -> None:
        for sandbox in (s for group in self.sandboxes.values() for s in group):
            self.converge(sandbox.path, pod.pod_state(sandbox), pod.owns)

    def run(self) -> None:
        steps = (
            ("namespaces", lambda: self.kernel.create_namespaces(self.paths)),
            ("fabric and hosts", self.fabric),
            ("overlay", self.overlay),
            ("bridges and pods' links", self.links),
            ("pods' own state", self.pods),
            ("observe all again", lambda: [self.kernel.observe(p) for p in self.paths]),
        )
        try:
            total = sum(timed(words, action) for words, action in steps)
            print(f"{total:8.3f}  together, {self.operations} operations in {len(self.paths)} namespaces")
        finally:
            timed("remove", lambda: self.kernel.delete_namespaces(self.paths))


def timed(words: str, action: object) -> float:
    start = perf_counter()
    action()  # type: ignore[operator]
    spent = perf_counter() - start
    print(f"{spent:8.3f}  {words}")
    return spent


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    Bench(3 if count < 100 else 20, count).run()
