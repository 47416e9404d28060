"""What people break by hand in a lab, one row each: every kind of object that a lab has in every kind of its namespaces.

A row is a script of sh. In it `on NAME COMMAND` runs a command in the namespace of a host or pod, `$LAB` is the lab's name,
`$STATE` its record, `pid NAME` the pid of one of its processes, and `port POD` the name of a pod's port on its node.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PRELUDE = """
set -e
on() { name=$1; shift; ip netns exec "$LAB-$name" "$@"; }
pid() { sed 's/.*"pid": *\\([0-9]*\\).*/\\1/' "$STATE/processes/$1"; }
port() { index=$(on "default-$2" cat /sys/class/net/eth0/iflink); on "$1" ip -o link | sed -n "s/^$index: \\([^@:]*\\).*/\\1/p"; }
"""


@dataclass(frozen=True)
class Damage:
    """One row. `sample`: it is tried in every run of the tests, as one of its kind."""

    name: str
    script: str
    sample: bool = False

    @contextmanager
    def done(self, lab: str, state: str) -> Iterator[None]:
        """Break the lab; processes whose pids the script prints end with the block."""
        variables = {"LAB": lab, "STATE": state, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        done = subprocess.run(
            ["sh", "-c", PRELUDE + self.script], env=variables, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, f"{self.name}: {done.stderr}"
        try:
            yield
        finally:
            for pid in done.stdout.split():
                os.kill(int(pid), signal.SIGKILL)


def _everywhere(what: str, script: str, sample: str = "") -> list[Damage]:
    """Return a damage that is the same in every kind of namespace; that of `sample` is tried in every run."""
    names = ("node1", "default-web1", "client", "edge", "fabric")
    return [Damage(f"{name}: {what}", script.replace("NAME", name), sample=name == sample) for name in names]


def _with_eth0(what: str, script: str, sample: str = "") -> list[Damage]:
    return [row for row in _everywhere(what, script, sample) if not row.name.startswith("fabric")]


HELD = """
ip netns exec $LAB-NAME sleep 600 >/dev/null 2>&1 &
until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
ip netns del $LAB-NAME
echo $!
"""
WITH_DEFAULT_ROUTE = ("node1", "default-web1", "client")
DAMAGES = (
    # ---- namespaces and their names
    *_everywhere("namespace deleted", "ip netns del $LAB-NAME", "node1"),
    *_everywhere("namespace unmounted", "umount /run/netns/$LAB-NAME"),
    # A stranger's process keeps the namespace and its end of the cable alive, beyond what netlab could end.
    *(Damage(f"{name}: namespace deleted under a shell", HELD.replace("NAME", name), sample=name == "node1")
      for name in ("node1", "default-web1", "client", "edge", "fabric")),
    Damage("all namespaces deleted", "for f in /run/netns/$LAB-*; do ip netns del ${f#/run/netns/}; done", sample=True),
    Damage("pod with a command: namespace deleted", "ip netns del $LAB-default-shell"),
    # ---- links
    *_with_eth0("eth0 deleted", "on NAME ip link del eth0"),
    *_with_eth0("eth0 renamed", "on NAME ip link set eth0 down; on NAME ip link set eth0 name foo0 up"),
    *_with_eth0("eth0 down", "on NAME ip link set eth0 down"),
    *_with_eth0("eth0 moved", "ip netns add $LAB-x; ip -n $LAB-NAME link set eth0 netns $LAB-x; ip netns del $LAB-x"),
    *_with_eth0("eth0's MAC changed", "on NAME ip link set eth0 address 02:00:00:00:00:99"),
    *_with_eth0("eth0's MTU changed", "on NAME ip link set eth0 mtu 600"),
    *_everywhere("lo down", "on NAME ip link set lo down", "edge"),
    *_everywhere("lo without addresses", "on NAME ip addr flush dev lo"),
    Damage("edge: eth1 deleted", "on edge ip link del eth1"),
    Damage("edge: eth1 renamed", "on edge ip link set eth1 down; on edge ip link set eth1 name foo1 up"),
    Damage("fabric: underlay deleted", "on fabric ip link del underlay"),
    Damage("fabric: outside deleted", "on fabric ip link del outside"),
    Damage("fabric: underlay down", "on fabric ip link set underlay down"),
    Damage("fabric: a cable deleted", "on fabric ip link del u-node1"),
    Damage("fabric: a cable renamed", "on fabric ip link set u-node1 down; on fabric ip link set u-node1 name foo up"),
    Damage("fabric: a cable without bridge", "on fabric ip link set u-node1 nomaster"),
    Damage("fabric: two cables exchanged", "on fabric ip link set u-node1 down; on fabric ip link set u-node2 down; "
           "on fabric ip link set u-node1 name foo; on fabric ip link set u-node2 name u-node1; "
           "on fabric ip link set foo name u-node2"),
    Damage("node1: cni0 deleted", "on node1 ip link del cni0", sample=True),
    Damage("node1: cni0 down", "on node1 ip link set cni0 down"),
    Damage("node1: cni0 renamed", "on node1 ip link set cni0 down; on node1 ip link set cni0 name foo0 up"),
    Damage("node1: a port without bridge", "on node1 ip link set $(port node1 web1) nomaster"),
    Damage("node1: a port deleted", "on node1 ip link del $(port node1 web1)"),
    Damage("node1: a port down", "on node1 ip link set $(port node1 web1) down"),
    Damage("node1: a port renamed", "p=$(port node1 web1); on node1 ip link set $p down; on node1 ip link set $p name foo0 up"),
    Damage("node1: a port moved", "ip -n $LAB-node1 link set $(port node1 web1) netns $LAB-client"),
    Damage("node1: a port without hairpin", "on node1 bridge link set dev $(port node1 web1) hairpin off"),
    Damage("node1: flannel.1 deleted", "on node1 ip link del flannel.1", sample=True),
    Damage("node1: flannel.1 down", "on node1 ip link set flannel.1 down"),
    Damage("node1: flannel.1 renamed", "on node1 ip link set flannel.1 down; on node1 ip link set flannel.1 name foo.1 up"),
    # ---- addresses
    *_with_eth0("addresses flushed", "on NAME ip addr flush dev eth0"),
    Damage("node1: address changed", "on node1 ip addr flush dev eth0; on node1 ip addr add 172.30.1.77/16 dev eth0"),
    Damage("node1: prefix changed", "on node1 ip addr flush dev eth0; on node1 ip addr add 172.30.1.1/32 dev eth0"),
    Damage("node1: cni0 without address", "on node1 ip addr flush dev cni0"),
    Damage("node1: flannel.1 without address", "on node1 ip addr flush dev flannel.1"),
    Damage("fabric: the API server's address deleted", "on fabric ip addr flush dev underlay"),
    Damage("edge: load balancer addresses deleted", "on edge ip addr flush dev lo"),
    # ---- routes
    *_everywhere("main table flushed", "on NAME ip route flush table main", "node1"),
    *(Damage(f"{name}: default route deleted", f"on {name} ip route del default") for name in WITH_DEFAULT_ROUTE),
    Damage("client: default route changed", "on client ip route replace default via 203.0.113.77"),
    Damage("node1: an overlay route replaced", "on node1 ip route replace blackhole 10.244.2.0/24"),
    Damage("node1: the route to its own pods replaced", "on node1 ip route replace blackhole 10.244.1.0/24"),
    Damage("default-web1: route to the pod network deleted", "on default-web1 ip route del 10.244.0.0/16"),
    # ---- neighbours and forwarding
    Damage("node1: overlay neighbours flushed", "on node1 ip neigh flush dev flannel.1 nud permanent"),
    Damage("node1: a wrong neighbour", "on node1 ip neigh replace 172.30.1.2 lladdr 02:00:00:00:00:66 dev eth0 nud permanent"),
    Damage("client: a wrong neighbour", "on client ip neigh replace 203.0.113.1 lladdr 02:00:00:00:00:66 dev eth0 nud permanent"),
    Damage("default-web1: a wrong neighbour", "gw=$(on default-web1 ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'); "
           "on default-web1 ip neigh replace $gw lladdr 02:00:00:00:00:66 dev eth0 nud permanent"),
    Damage("node1: neighbours of pods flushed", "on node1 ip neigh flush dev cni0 nud permanent"),
    Damage("node1: a wrong neighbour of a pod", "a=$(on node1 ip neigh show dev cni0 nud permanent | sed -n '1s/ .*//p'); "
           "test $a; on node1 ip neigh replace $a lladdr 02:00:00:00:00:66 dev cni0 nud permanent", sample=True),
    Damage("node1: a neighbour of a pod that does not exist",
           "on node1 ip neigh replace 10.244.1.200 lladdr 02:00:00:00:00:66 dev cni0 nud permanent"),
    Damage("default-web1: its gateway's entry flushed", "on default-web1 ip neigh flush dev eth0 nud permanent"),
    Damage("node1: forwarding entries flushed", "on node1 bridge fdb show dev flannel.1 | while read mac rest; do "
           "on node1 bridge fdb del $mac dev flannel.1 ${rest%% self*}; done"),
    # ---- settings
    Damage("node1: ip_forward 0", "on node1 sysctl -q net.ipv4.ip_forward=0", sample=True),
    Damage("edge: ip_forward 0", "on edge sysctl -q net.ipv4.ip_forward=0"),
    Damage("node1: no forwarding from eth0", "on node1 sysctl -q net.ipv4.conf.eth0.forwarding=0"),
    Damage("node1: no forwarding from cni0", "on node1 sysctl -q net.ipv4.conf.cni0.forwarding=0"),
    Damage("node1: no forwarding from flannel.1", "on node1 sysctl -q net.ipv4.conf.flannel/1.forwarding=0"),
    Damage("edge: no forwarding from eth1", "on edge sysctl -q net.ipv4.conf.eth1.forwarding=0"),
    Damage("node1: rp_filter 1", "on node1 sysctl -q net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1"),
    Damage("node1: rp_filter 1 of flannel.1", "on node1 sysctl -q net.ipv4.conf.flannel/1.rp_filter=1"),
    Damage("edge: rp_filter 1", "on edge sysctl -q net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1"),
    Damage("node1: bridge-nf-call-iptables 0", "on node1 sysctl -q net.bridge.bridge-nf-call-iptables=0"),
    # ---- rules
    Damage("node1: ruleset flushed", "on node1 nft flush ruleset", sample=True),
    Damage("edge: ruleset flushed", "on edge nft flush ruleset"),
    Damage("node1: the proxy's table deleted", "on node1 nft delete table ip kube-proxy"),
    Damage("node1: a chain flushed", "on node1 nft flush chain ip kube-proxy services"),
    # ---- processes
    *(Damage(f"{name} killed", f"kill -9 $(pid {name})") for name in ("agent-node1", "edge", "workloads-node1")),
    *(Damage(f"{name} stopped", f"kill -STOP $(pid {name})", sample=name == "agent-node1")
      for name in ("agent-node1", "edge", "workloads-node1")),
    Damage("daemon killed", "kill -9 $(pid daemon)"),
    # ---- files
    Damage("node1: its files deleted", "rm -r $STATE/hosts/node1"),
    Damage("node1: a folder in place of its hosts", "rm $STATE/hosts/node1/hosts; mkdir $STATE/hosts/node1/hosts"),
    Damage("node1: a link in place of its hosts", "ln -sf /nowhere $STATE/hosts/node1/hosts"),
    Damage("node1: no text in its hosts", "printf '\\351' > $STATE/hosts/node1/hosts"),
    Damage("default-web1: its files deleted", "rm -r $STATE/pods/*"),
)  # fmt: skip
