"""A search: objects with hostile values through all that agents, edge and DNS make of them, in process.

Each case takes a small cluster, writes hostile values into some of its objects, and runs what a node's agent, the edge and the
controller of NodeHosts would run. Whatever the values:
1. nothing raises an exception;
2. every nft command is one of ours, on a table of ours;
3. the objects that nobody touched are served as before: routes, rules, load balancer, names;
4. every line of NodeHosts has an address and names, and every question of DNS gets an answer.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from copy import deepcopy
from ipaddress import IPv4Address
from typing import Any

import dns.message
import fuzzing
import pytest

from netlab.api.lab import Lab
from netlab.api.meta import ObjectMeta
from netlab.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, NAMESPACES, NODES, SERVICES
from netlab.controlplane.controllers import cluster_services
from netlab.controlplane.controllers.world import World
from netlab.dataplane.state import Link, Operation, Verb, Veth
from netlab.dns.server import Responder
from netlab.dns.zone import Zone
from netlab.edge.frontends import offered, unserved, usable
from netlab.edge.programming import Programmer
from netlab.edge.rules import Balancing
from netlab.errors import UnreadableError
from netlab.family import Family
from netlab.ipam import AddressPlan
from netlab.kernel.fake import FakeKernel
from netlab.node.agent.parts import PartsKeeper
from netlab.overlay.backends import announcement
from netlab.overlay.vxlan import lease_annotations, vtep_mac
from netlab.plane import View, parts
from netlab.proxy.health import health_check_answers
from netlab.proxy.servicemap import ServiceTracker

LAB = Lab(metadata=ObjectMeta(name="lab"))
NODE, EDGE = "/run/netns/lab-node1", "/run/netns/lab-edge"
KINDS = {
    "nodes": NODES,
    "services": SERVICES,
    "endpointslices": ENDPOINT_SLICES,
    "configmaps": CONFIG_MAPS,
    "namespaces": NAMESPACES,
}
COMMAND = re.compile(
    r"(add table|(add|flush|delete) chain|add rule|(add|delete) (set|map)|(add|delete) element) "
    r"ip (kube-proxy|flannel-ipv4|netlab-edge)( [A-Za-z][\w./-]*)?"
    r'( ([\w .:,@!=|^&{};/-]|comment "[\w./:@, -]{1,128}")+)?', re.ASCII
)  # fmt: skip
DEEPEST = 8  # of what a good object holds
DEEP: Any = []
for _ in range(900):
    DEEP = [DEEP]
HOSTILE: tuple[Any, ...] = (
    "172.30.1.1 }\nflush ruleset\nadd element ip netlab-edge node-addresses { 172.30.1.99",
    '10.0.0.1\ninclude "/etc/shadow"', "6.6.6.6 pay.default.svc.cluster.local\n7.7.7.7", "10.0.0.1;drop", "a\x00b",
    "\n", "", " ", "}", "{", "#", "\\", '"', "$x", "\u0661.1.1.1", "10.0.0.1\u2028", "::1", "fe80::1%eth0", "1.2.3.4.",
    "0.0.0.0", "0.0.0.0/0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "10.244.0.0/16", "10.0.0.1/33",
    "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "[" * 5000, "x" * 70, "x" * 300, "a" * 100_000, "9" * 5000,
    "TCP; drop", "None", "IPv4", "IPv6", "FQDN", "Local", "ClientIP", "LoadBalancer", "ExternalName", "true", "vxlan",
    '{"VNI":1e400,"VtepMAC":[]}', '{"VtepMAC":"01:00:5e:00:00:01"}', '{"VtepMAC":"02:00:00:00:00:77"}',
    0, -1, 1, 65_536, 10**9, 10**30, 2**63, True, False, None, 1.5, [], {}, ["x"], {"a": "b"}, DEEP,
)  # fmt: skip


def cluster() -> dict[str, dict[str, Any]]:
    """Return the objects by `kind/key`, as JSON."""
    objects: dict[str, Any] = {}
    for number in range(1, 5):
        name, address = f"node{number}", f"172.30.1.{number}"
        objects[f"nodes/{name}"] = {
            "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "a"},
                         "annotations": lease_annotations(address, vtep_mac("lab", name, {}))},
            "spec": {"podCIDR": f"10.244.{number}.0/24"},
            "status": {"addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
                       "images": [], "conditions": [{"type": "Ready", "status": "True"}]},
        }  # fmt: skip
    for number, kind in enumerate(("ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "ClusterIP"), 1):
        name = f"s{number}"
        objects[f"services/default/{name}"] = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"type": kind, "clusterIP": f"10.96.0.{number}", "clusterIPs": [f"10.96.0.{number}"],
                     "externalIPs": [f"192.0.2.{number}"], "sessionAffinity": "ClientIP" if number == 4 else "None",
                     "loadBalancerSourceRanges": ["203.0.113.0/24"] if kind == "LoadBalancer" else [],
                     "externalTrafficPolicy": "Local" if number == 3 else "Cluster",
                     "healthCheckNodePort": 31000 if number == 3 else 0,
                     "ports": [{"name": "p", "port": 80, "protocol": "UDP" if number == 5 else "TCP",
                                "nodePort": 30000 + number if kind != "ClusterIP" else 0}]},
            "status": {"loadBalancer": {"ingress": [{"ip": f"198.51.100.{number}", "ipMode": "VIP"}] if "Load" in kind else []}},
        }  # fmt: skip
        objects[f"endpointslices/default/{name}-x"] = {
            "metadata": {"name": f"{name}-x", "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [f"10.244.{n}.{number}"], "nodeName": f"node{n}", "conditions": {"ready": True},
                           "hints": {"forZones": [{"name": "a"}]}} for n in (1, 2)],
            "ports": [{"name": "p", "port": 8080, "protocol": "UDP" if number == 5 else "TCP"}],
        }  # fmt: skip
    objects["namespaces/default"] = {"metadata": {"name": "default"}}
    hosts = {"metadata": {"name": "coredns", "namespace": "kube-system"}, "data": {"NodeHosts": "203.0.113.10 client\n"}}
    return objects | {"configmaps/kube-system/coredns": hosts}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value, containers included; what a hostile value holds is not looked into."""
    if path:
        yield path
    if len(path) > DEEPEST:
        return
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield from leaves(inner, (*path, step))


def mutate(objects: dict[str, Any], dice: random.Random) -> set[str]:
    """Write hostile values into some objects; return their names. An object keeps its name, by which it is found."""
    touched = set(dice.sample(sorted(objects), dice.randint(1, 3)))
    for name in touched:
        for _ in range(dice.randint(1, 3)):
            paths = [path for path in leaves(objects[name]) if path[:2] not in {("metadata", "name"), ("metadata", "namespace")}]
            *way, last = dice.choice([path for path in paths if len(path) > 1] or [("metadata", "labels")])
            where = objects[name]
            for step in way:
                where = where[step]
            value = dice.choice(HOSTILE)
            if isinstance(where, dict) and dice.random() < 0.2 and isinstance(value, str):
                where[value] = dice.choice(HOSTILE)  # a hostile key
            else:
                where[last] = value
    return touched


def decoded(objects: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the typed objects by kind and key, without those that an informer leaves out: of the wrong form, or too deep."""
    found: dict[str, dict[str, Any]] = {plural: {} for plural in KINDS}
    for name, body in objects.items():
        plural, _, key = name.partition("/")
        try:
            found[plural][key] = KINDS[plural].decode(body)
        except (UnreadableError, RecursionError, OverflowError):
            continue
    return found


class Plane:
    """A node's agent and the edge, without their processes."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.kernel.create_namespaces([NODE, EDGE, "/run/netns/far"])
        self.kernel.perform(NODE, [Operation(Verb.ADD, Link("eth0", Veth("far", "/run/netns/far")))])
        self.parts = PartsKeeper(self.kernel, NODE, parts(LAB))
        self.programmer = Programmer(self.kernel, EDGE, Family.IPV4)
        self.zone: Zone | None = None
        self.tracker: ServiceTracker | None = None
        self.known: dict[str, set[str]] = {"services": set(), "endpointslices": set()}

    def follow(self, objects: dict[str, Any], own: Any) -> None:
        """Bring everything to these objects; `own` is the node's own Node object, which is good."""
        world = decoded(objects)
        nodes, services, slices = world["nodes"] | {"node1": own}, world["services"], world["endpointslices"]
        announcement(LAB, nodes["node1"])
        if self.tracker is None:
            self.tracker = ServiceTracker(own, Family.IPV4)
        for key in self.known["services"] | services.keys():
            self.tracker.set_service(key, services.get(key))
        for key in self.known["endpointslices"] | slices.keys():
            self.tracker.set_slice(key, slices.get(key))
        self.known = {"services": set(services), "endpointslices": set(slices)}
        ports = self.tracker.current()
        self.parts.keep(View(own, tuple(nodes.values()), ports), resync=True)
        health_check_answers(ports)
        found, backends = (
            offered(services.values(), Family.IPV4),
            usable(nodes.values(), Family.IPV4),
        )
        healthy = dict.fromkeys(found.frontends, backends.backends)
        self.programmer.program(Balancing(healthy, backends.backends), found.addresses, resync=True)
        list(unserved(services.values(), found.refused, Family.IPV4))
        self.serve_names(world, [*nodes.values()])

    def serve_names(self, world: dict[str, Any], nodes: list[Any]) -> None:
        plan = AddressPlan.of(LAB)
        self.hosts = cluster_services.host_names(World.of([LAB, *nodes]), plan)
        configured = world["configmaps"].get("kube-system/coredns")
        text = configured.data.get("NodeHosts", "") if configured else ""
        self.zone = Zone.build(
            "cluster.local", world["services"].values(), world["endpointslices"].values(), world["namespaces"].values(),
            node_hosts_text=self.hosts + text, previous=self.zone,
        )  # fmt: skip

    def address_of(self, service: str) -> list[str]:
        responder = Responder(lambda: self.zone)
        question = dns.message.make_query(f"{service}.default.svc.cluster.local", "A")
        answer = responder.answer(question.to_wire())
        assert answer is not None
        return [str(record) for rrset in dns.message.from_wire(answer).answer for record in rrset]


QUESTIONS = ("s1.default.svc.cluster.local", "_p._tcp.s2.default.svc.cluster.local", "1.0.96.10.in-addr.arpa", "client", "x.y")


def check(plane: Plane, touched: set[str]) -> None:
    """Assert what holds whatever was touched."""
    for path, script in plane.kernel.scripts:
        assert path in {NODE, EDGE}
        assert all(COMMAND.fullmatch(line) for line in script.splitlines()), script
    for line in plane.hosts.splitlines():
        address, *names = line.split(" ")
        assert IPv4Address(address)
        assert names
        assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in names)
    responder = Responder(lambda: plane.zone)
    for question in QUESTIONS:
        for kind in ("A", "AAAA", "SRV", "PTR", "ANY"):
            answer = responder.answer(dns.message.make_query(question, kind).to_wire())
            assert answer is not None
            assert dns.message.from_wire(answer).rcode() != dns.rcode.SERVFAIL, (question, kind)
    intact(plane, touched)


def intact(plane: Plane, touched: set[str]) -> None:
    """Assert that what nobody touched is served."""
    state = plane.kernel.observe(NODE)
    proxy, edge = (plane.kernel.nft_list(path, "ip", table) for path, table in ((NODE, "kube-proxy"), (EDGE, "netlab-edge")))
    for number in range(1, 5):
        if f"nodes/node{number}" not in touched:
            address = f"172.30.1.{number}"
            assert number == 1 or address in {entry.remote for entry in state.forwarding}
            assert number == 1 or f"10.244.{number}.0/24" in {route.destination for route in state.routes}
            assert address in edge.elements["node-addresses"]
            assert f"{address} node{number}\n" in plane.hosts
    for number in range(1, 6):
        name = f"s{number}"
        if not {f"services/default/{name}", f"endpointslices/default/{name}-x"} & touched:
            protocol = "udp" if number == 5 else "tcp"
            assert f"10.96.0.{number} . {protocol} . 80" in keys(proxy.elements["service-ips"])
            assert number not in {3, 4} or f"198.51.100.{number} . tcp . 80" in keys(edge.elements["service-ports"])
            assert "namespaces/default" in touched or [f"10.96.0.{number}"] == plane.address_of(name)


def keys(elements: tuple[str, ...]) -> set[str]:
    return {element.partition(" : ")[0] for element in elements}


@pytest.mark.fuzz
def test_hostile_objects_stay_alone():
    """No value of any object stops what is made of the others, nor writes a command (B1, B2, S2)."""
    own = NODES.decode(cluster()["nodes/node1"])
    for case in range(fuzzing.cases(80)):
        dice = fuzzing.generator(case)
        plane = Plane()
        if dice.random() < 0.5:
            plane.follow(cluster(), own)  # the objects were good before
        objects = deepcopy(cluster())
        touched = mutate(objects, dice)
        plane.follow(objects, own)
        try:
            check(plane, touched)
        except AssertionError as error:
            error.add_note(f"case {case}: {sorted(touched)}")
            raise
        plane.follow(cluster(), own)  # and everything is right again
        intact(plane, set())
