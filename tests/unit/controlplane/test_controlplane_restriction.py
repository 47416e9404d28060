"""NodeRestriction: what a node's token may change inside its own objects, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netlab.api.resources import LEASES, NODES, PODS, SERVICES, Json, Resource
from netlab.api.wellknown import EDGE_LEASE, LOAD_BALANCERS, POD_DELETION_COST, PROBLEMS, SYNCED, node_lease, split_key
from netlab.controlplane.api import Api, Target
from netlab.controlplane.auth import ADMIN, EDGE
from netlab.controlplane.patches import MERGE_PATCH
from netlab.controlplane.restriction import is_forbidden_label
from netlab.errors import ApiError

NODE = "node:node1"
FLANNEL = "flannel.alpha.coreos.com/"
MAC = "0a:58:0a:f4:01:01"
INJECTED = "172.30.1.1 }\nflush ruleset\nadd table ip netlab-edge"
HOSTS = "172.30.1.1 node1\n6.6.6.6 pay.default.svc.cluster.local db.example.com\n7.7.7.7"
MINE, OTHERS, LOOSE = "mine", "others", "loose"
PAY = Target(SERVICES, "default", "pay", "status")


@pytest.fixture
def lab(api: Api) -> Api:
    """Two nodes, a pod on each and one on none, a load balancer, the Leases."""
    for number in (1, 2):
        addresses = [{"type": "InternalIP", "address": f"172.30.1.{number}"}, {"type": "Hostname", "address": f"node{number}"}]
        body = {
            "metadata": {"name": f"node{number}", "labels": {"kubernetes.io/hostname": f"node{number}"}},
            "spec": {"podCIDR": f"10.244.{number}.0/24"},
            "status": {"addresses": addresses},
        }
        api.create(ADMIN, Target(NODES), body)
        write_lease(api, node_lease(f"node{number}"))
    write_lease(api, EDGE_LEASE)
    for name, node in ((MINE, "node1"), (OTHERS, "node2"), (LOOSE, "")):
        meta = {"name": name, "labels": {"app": "evil"}}
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "nginx"}]}
        api.create(ADMIN, Target(PODS, "default"), {"metadata": meta, "spec": spec})
    balancer = {"metadata": {"name": "pay"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
    api.create(ADMIN, Target(SERVICES, "default"), balancer)
    return api


def write_lease(api: Api, key: str) -> None:
    namespace, name = split_key(key)
    spec = {"holderIdentity": "x", "leaseDurationSeconds": 40, "renewTime": "2026-11-20T12:00:00.000000Z"}
    api.create(ADMIN, Target(LEASES, namespace), {"metadata": {"name": name}, "spec": spec})


def node(name: str = "node1", *, status: bool = False) -> Target:
    return Target(NODES, "", name, "status" if status else "")


def pod(name: str = MINE) -> Target:
    return Target(PODS, "default", name, "status")


def lease(key: str = node_lease("node1")) -> Target:
    return Target(LEASES, *split_key(key))


def balanced(point: Json) -> Json:
    return {"status": {"loadBalancer": {"ingress": [point]}}}


def annotated(**values: Any) -> Json:
    """Return a patch of flannel's annotations; a value that is no text becomes JSON."""
    texts = {key.replace("_", "-"): v if isinstance(v, str | None) else json.dumps(v) for key, v in values.items()}
    return {"metadata": {"annotations": {f"{FLANNEL}{key}": text for key, text in texts.items()}}}


def addressed(address: Any, kind: str = "InternalIP") -> Json:
    return {"status": {"addresses": [{"type": kind, "address": address}]}}


def labelled(**labels: Any) -> Json:
    return {"metadata": {"labels": labels}}


def leased(**spec: Any) -> Json:
    return {"spec": spec}


def synced(text: str) -> Json:
    return {"metadata": {"annotations": {SYNCED: text}}}


STATUS = {"status": {"phase": "Running", "hostIP": "172.30.1.1", "podIP": "10.244.1.7", "podIPs": [{"ip": "10.244.1.7"}]}}
READY = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}


def pod_at(address: str, **more: Any) -> Json:
    return {"status": {"podIP": address, "podIPs": [{"ip": address}], **more}}


@pytest.mark.parametrize(
    ("target", "patch", "code", "words"),
    [
        # ---- what the agents do
        (node(), annotated(backend_data={"VNI": 1, "VtepMAC": MAC}, backend_type="vxlan", public_ip="172.30.1.1"), 200, ""),
        (node(status=True), annotated(backend_data={"VtepMAC": MAC}), 200, ""),
        (node(status=True), READY, 200, ""),
        (node(), annotated(backend_data="null"), 200, ""),  # flannel's host-gw
        (pod(), STATUS, 200, ""),
        (pod(), pod_at("172.30.1.1"), 200, ""),  # hostNetwork
        (lease(), synced('{"services": "812"}'), 200, ""),
        (lease(), leased(renewTime="2026-11-20T12:00:10.000000Z"), 200, ""),
        # ---- addresses of nodes: nft on the edge, names on every node (finding B1)
        (node(status=True), addressed(INJECTED), 422, "must be a valid IP address"),
        (node(status=True), addressed(HOSTS), 422, "must be a valid IP address"),
        (node(status=True), addressed('include "/etc/shadow"'), 422, "must be a valid IP address"),
        (node(status=True), addressed("172.30.1.2"), 403, 'node "node1" is not allowed to modify addresses'),
        (node(status=True), addressed("224.0.0.1"), 422, "may not be in the multicast range"),
        (node(status=True), addressed("0.0.0.0"), 422, "may not be an address of this host"),
        (node(status=True), addressed("255.255.255.255"), 422, "may not be in the reserved range"),
        (node(status=True), addressed("::1"), 422, "must be an IPv4 address"),
        (node(status=True), addressed(5), 400, "addresses[0].address: Expected `str`, got `int`"),
        (node(status=True), addressed("node1\n1.1.1.1 x", "Hostname"), 422, "a lowercase RFC 1123 subdomain"),
        (node(status=True), addressed("172.30.1.1", "External\nIP"), 422, "Unsupported value"),
        (node(status=True), {"status": {"addresses": None}}, 403, "is not allowed to modify addresses"),
        (node(status=True), {"status": {"images": "[" * 900}}, 400, "status.images: Expected `array`"),
        (node(status=True), {"status": {"images": [{"names": [{}]}]}}, 400, "Expected `str`, got `object`"),
        (node(status=True), {"status": {"capacity": {"pods": "many"}}}, 400, "quantities must match"),
        (node(status=True), {"status": {"conditions": [{"type": "Ready\n", "status": "True"}]}}, 422, "conditions[0].type"),
        (node(status=True), {"status": {"conditions": [{"type": "Ready", "status": "Yes"}]}}, 422, "conditions[0].status"),
        # ---- the overlay: no agent may fail on another's lease (finding S2)
        (node(), annotated(backend_data="[" * 100_000), 422, "must have at most 4096 characters"),
        (node(), annotated(backend_data="[" * 4000), 422, "must be JSON"),
        (node(), annotated(backend_data={"VtepMAC": "ff:ff:ff:ff:ff:ff"}), 422, "not zero, not broadcast, not multicast"),
        (node(), annotated(backend_data={"VtepMAC": "00:00:00:00:00:00"}), 422, "not zero"),
        (node(), annotated(backend_data={"VtepMAC": "01:00:5e:00:00:01"}), 422, "not multicast"),
        (node(), annotated(backend_data={"VtepMAC": f"{MAC}\nx"}), 422, "VtepMAC"),
        (node(), annotated(backend_data={"VtepMAC": ["x"]}), 422, "VtepMAC"),
        (node(), annotated(backend_data={"VNI": 2**24, "VtepMAC": MAC}), 422, "VNI must be a number"),
        (node(), annotated(backend_data={"VNI": True, "VtepMAC": MAC}), 422, "VNI must be a number"),
        (node(), annotated(backend_data='{"VNI": ' + "9" * 5000 + "}"), 422, "4096 characters"),
        (node(), annotated(backend_data='{"VNI": ' + "9" * 4000 + "}"), 422, "VNI must be a number"),
        (node(), annotated(public_ip="172.30.1.2"), 403, "to an address that is not its own"),
        (node(), annotated(public_ip="127.0.0.1"), 422, "may not be in the loopback range"),
        (node(), annotated(public_ip="172.30.1.1; flush ruleset"), 422, "must be a valid IP address"),
        (node(), annotated(public_ip_overwrite="172.30.1.2"), 403, "to an address that is not its own"),
        # ---- the rest of a Node (NodeRestriction)
        (node(), labelled(**{"node-restriction.kubernetes.io/a": "b"}), 403, "is not allowed to modify labels: node-restriction"),
        (node(), labelled(**{"node-role.kubernetes.io/control-plane": ""}), 403, "is not allowed to modify labels"),
        (node(), labelled(**{"topology.kubernetes.io/zone": "a", "disk": "ssd"}), 200, ""),
        (node(), labelled(**{"a\nb": "c"}), 422, "metadata.labels"),
        (node(status=True), labelled(**{"a\nb": "c"}), 422, "metadata.labels"),
        (node(status=True), labelled(**{"k8s.io/a": "c"}), 403, "is not allowed to modify labels: k8s.io/a"),
        (node(), {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, 403, "is not allowed to modify taints"),
        (node(), {"metadata": {"finalizers": ["netlab/drain"]}}, 403, "is not allowed to modify finalizers"),
        (node(), {"metadata": {"annotations": {"a": "x" * 2**18}}}, 422, "Too long: may not be more than 262144 bytes"),
        (node("node2"), labelled(a="b"), 403, 'User "node:node1" cannot patch resource "nodes"'),
        (node("node2", status=True), READY, 403, 'User "node:node1" cannot patch resource "nodes/status"'),
        # ---- pods (finding S1)
        (pod(), labelled(app="pay"), 403, 'pods "mine" is forbidden: node "node1" cannot update labels through pod status'),
        (pod(), {"metadata": {"labels": None}}, 403, "cannot update labels through pod status"),
        (pod(), {"metadata": {"annotations": {"a": "b"}}}, 403, "cannot update annotations through pod status"),
        (pod(), {"metadata": {"annotations": {POD_DELETION_COST: "9" * 5000}}}, 422, "a 32bit integer"),
        (pod(), pod_at("10.244.2.7"), 403, "cannot set status.podIP to an address outside of its podCIDR"),
        (pod(), pod_at("1.2.3.4; flush ruleset"), 422, "status.podIP: Invalid value"),
        (pod(), pod_at("127.0.0.1"), 422, "may not be in the loopback range"),
        (pod(), pod_at("10.244.1.7", podIPs=[{"ip": "10.244.1.8"}]), 422, "must be equal to `podIP`"),
        (pod(), {"status": {"hostIP": "172.30.1.2"}}, 403, "cannot set status.hostIP"),
        (pod(), {"status": {"phase": "Zombie"}}, 422, "status.phase: Unsupported value"),
        (pod(), {"status": {"startTime": "x"}}, 400, "status.startTime"),
        (pod(OTHERS), STATUS, 403, 'User "node:node1" cannot patch resource "pods/status"'),
        (pod(LOOSE), STATUS, 403, 'User "node:node1" cannot patch resource "pods/status"'),
        (Target(PODS, "default", MINE), labelled(app="pay"), 403, 'User "node:node1" cannot patch resource "pods"'),
        # ---- Leases
        (lease(), synced('{"services": "' + "9" * 5000 + '"}'), 422, "must have at most 4096 characters"),
        (lease(), synced('{"services": "' + "9" * 20 + '"}'), 422, "must be a map of plurals to resourceVersions"),
        (lease(), synced('{"services": 5}'), 422, "must be JSON"),
        (lease(), synced("[" * 4000), 422, "must be JSON"),
        (lease(), {"metadata": {"annotations": {LOAD_BALANCERS: "{}"}}}, 403, f"its Lease holds {PROBLEMS}, {SYNCED}"),
        (lease(), {"metadata": {"annotations": {"a": "b"}}}, 403, "is not allowed to modify annotations a"),
        (lease(), leased(renewTime="x"), 400, "spec.renewTime"),
        (lease(), leased(renewTime="2026-13-20T12:00:00.000000Z"), 400, "spec.renewTime"),
        (lease(), leased(leaseDurationSeconds=0), 422, "spec.leaseDurationSeconds"),
        (lease(), leased(leaseDurationSeconds=2**40), 400, "spec.leaseDurationSeconds"),
        (lease(node_lease("node2")), leased(holderIdentity="y"), 403, 'cannot patch resource "leases"'),
        (lease(EDGE_LEASE), leased(holderIdentity="y"), 403, 'cannot patch resource "leases"'),
        (PAY, {"status": {}}, 403, 'cannot patch resource "services/status"'),
    ],
)  # fmt: skip
def test_what_a_node_may_change(lab: Api, target: Target, patch: Json, code: int, words: str) -> None:
    """A refused change leaves the object as it was."""
    before = lab.get(ADMIN, target).body
    found, message = attempt(lab, NODE, target, patch)

    assert code == found, message
    assert words in message
    assert (code == 200) or before == lab.get(ADMIN, target).body


def attempt(api: Api, user: str, target: Target, patch: Json) -> tuple[int, str]:
    try:
        api.patch(user, target, MERGE_PATCH, patch)
    except ApiError as error:
        return error.code, error.message
    return 200, ""


@pytest.mark.parametrize(
    ("annotations", "code"),
    [
        ({SYNCED: '{"nodes": "7"}', LOAD_BALANCERS: '{"default/blue": {"80/TCP": ["node1"]}}'}, 200),
        ({LOAD_BALANCERS: '{"default/blue": 5}'}, 422),
        ({LOAD_BALANCERS: "[" * 100_000}, 422),
        ({"a": "b"}, 403),
    ],
)
def test_what_the_edge_may_change(lab: Api, annotations: Json, code: int) -> None:
    """The edge's Lease holds the two annotations that its readers know."""
    assert code == attempt(lab, EDGE, lease(EDGE_LEASE), {"metadata": {"annotations": annotations}})[0]


def test_a_spec_does_not_come_through_a_status(lab: Api) -> None:
    """A status update keeps the spec, as in Kubernetes; it is not an error."""
    found = lab.get(ADMIN, Target(PODS, "default", MINE)).copy()
    found["spec"]["containers"][0]["image"] = "evil"
    after = lab.update(NODE, pod(), {**found, **STATUS}).stored.body

    assert ("nginx", "Running") == (after["spec"]["containers"][0]["image"], after["status"]["phase"])


@pytest.mark.parametrize(
    ("resource", "body", "words"),
    [
        (PODS, {"metadata": {"name": "x", "namespace": "default"}, "spec": {}}, 'cannot create resource "pods"'),
        (NODES, {"metadata": {"name": "node3"}}, 'cannot create resource "nodes"'),
        (NODES, {"metadata": {"name": "node1", "labels": {"k8s.io/a": "b"}}}, 'node "node1" is not allowed to set the following'),
        (NODES, {"metadata": {"name": "node1"}, "spec": {"podCIDR": "10.244.2.0/24"}}, "is not allowed to modify podCIDR"),
        (NODES, {"metadata": {"name": "node1"}, **addressed("172.30.1.2")}, "is not allowed to modify addresses"),
    ],
)  # fmt: skip
def test_what_a_node_may_not_create(lab: Api, resource: Resource, body: Json, words: str) -> None:
    """A node makes no pods, and of Nodes its own alone, as the lab's registration leaves it."""
    lab.delete(ADMIN, node())
    with pytest.raises(ApiError) as caught:
        lab.create(NODE, Target(resource, body["metadata"].get("namespace", "")), body)

    assert (403, True) == (caught.value.code, words in caught.value.message)


@pytest.mark.parametrize(
    ("key", "forbidden"),
    [
        ("disk", False), ("example.com/a", False), ("kubernetes.io/hostname", False), ("topology.kubernetes.io/zone", False),
        ("node.kubernetes.io/a", False), ("x.kubelet.kubernetes.io/a", False), ("kubernetes.io/a", True), ("a.k8s.io/b", True),
        ("node-restriction.kubernetes.io/a", True), ("x.node-restriction.kubernetes.io/a", True),
        ("topology.kubernetes.io/rack", True), ("xkubernetes.io/a", False),
    ],
)  # fmt: skip
def test_labels_of_nodes(key: str, forbidden: bool) -> None:
    """Labels of Kubernetes' own are the administrator's, but for those that kubelets report."""
    assert forbidden == is_forbidden_label(key)


@pytest.mark.parametrize(
    ("target", "patch", "code", "words"),
    [
        (pod(), {"metadata": {"annotations": {POD_DELETION_COST: "-5"}}}, 200, ""),
        (pod(), {"metadata": {"annotations": {POD_DELETION_COST: str(2**31)}}}, 422, "32bit"),
        (pod(), labelled(**{"a b": "c"}), 422, "metadata.labels"),
        (PAY, balanced({"ip": "198.51.100.1"}), 200, ""),
        (PAY, balanced({"ip": "x }"}), 422, "valid IP"),
        (PAY, balanced({"hostname": "1.2.3.4"}), 422,
         "must be a DNS name"),
        (PAY, balanced({"hostname": "a\nb"}), 422,
         "RFC 1123"),
        (PAY, balanced({"ip": "1.2.3.4", "ipMode": "X"}),
         422, "ipMode: Unsupported value"),
        (PAY, balanced({}), 422, "must specify"),
        (Target(PODS, "default", MINE), {"metadata": {"ownerReferences": [{"kind": "Pod", "name": "x"}]}}, 422,
         "metadata.ownerReferences[0].apiVersion: Required value"),
        (Target(PODS, "default", MINE), {"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": name, "controller": True} for name in ("a", "b")]}}, 422,
         'Found "true" in references for Pod/a and Pod/b'),
        (Target(PODS, "default", MINE), {"metadata": {"finalizers": ["a\nb"]}}, 422, "metadata.finalizers[0]"),
        (node(), {"spec": {"podCIDRs": ["10.244.1.0/24"]}}, 200, ""),
        (node(), {"spec": {"podCIDRs": ["10.244.1.0/24", "10.244.2.0/24"]}}, 422, "may contain one range"),
        (node(), {"spec": {"podCIDRs": ["10.244.3.0/24"]}}, 422, "must be equal to `podCIDR`"),
    ],
)  # fmt: skip
def test_rules_for_everybody(lab: Api, target: Target, patch: Json, code: int, words: str) -> None:
    """The administrator's writes obey the same rules, on every subresource."""
    found, message = attempt(lab, ADMIN, target, patch)

    assert code == found, message
    assert words in message
