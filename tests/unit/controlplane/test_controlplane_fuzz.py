"""Random requests: none answers 500, and nothing that is stored breaks a reader.

A case is a verb, a path, a query and a body drawn from what the API knows and from what broke it before. After each
block of cases every reader of stored objects (controllers, kubelet, agents, edge) looks at the store. A seed makes the
same cases in every run; `NETLAB_FUZZ_CASES` asks for more of them, `NETLAB_FUZZ_SEED` for others.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
from collections import Counter
from ipaddress import IPv4Address
from typing import Any
from urllib.parse import quote

import aiohttp
from test_controlplane_matrix import TOKENS, body_of, fill, objects
from test_controlplane_server import served

from netlab.api.lab import Lab, LabNode, LabSpec
from netlab.api.meta import ObjectMeta
from netlab.api.resources import LEASES, NODES, PODS, RESOURCES, SERVICES, Json
from netlab.controlplane.api import Api
from netlab.controlplane.auth import TokenTable
from netlab.controlplane.controllers.table import CONTROLLERS
from netlab.controlplane.controllers.world import FIELDS, World
from netlab.controlplane.store import Store
from netlab.controlplane.validation import LabRules
from netlab.family import Family
from netlab.overlay.vxlan import VxlanLease, parse_lease
from netlab.process import podfiles

CASES = int(os.environ.get("NETLAB_FUZZ_CASES", "1500"))
SEED = int(os.environ.get("NETLAB_FUZZ_SEED", "7"))
BLOCK = 100
NINES = "9" * 5000
TEXTS = (
    "", "x", "node1", "node2", "default", "a\nb", "a\r\nSet-Cookie: b", "\x00", "é", "\U0001f600", "1.2.3.4", "10.244.1.7", "::1",
    "172.30.1.1 }\nflush ruleset", '"; drop', "../../etc/passwd", "%s%n", "9" * 20, NINES, "-5", "0", "None", "TCP", "a" * 300,
    "2026-11-20T12:00:00Z", "0001-01-01T00:00:00+23:59", "10.244.1.0/24", "10.244.1.1/24", "0.0.0.0/0", "500m", "1e999",
    "limits.cpu", "{}", "[" * 3000, '{"VtepMAC":"ff:ff:ff:ff:ff:ff"}', '{"services":"' + "9" * 19 + '"}', "http", "30000-32767",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 80, 65536, 2**31, 2**63, -(2**63) - 1, 10**40, 0.5, [], {}, [[]], [{}], [None],
    {"": ""}, {"a": None},
    {"name": {}}, [1, "x", {}], *TEXTS,
)  # fmt: skip
DEEP: tuple[Any, ...] = tuple(json.loads("[" * depth + "]" * depth) for depth in (60, 99, 150, 900))
ANNOTATIONS = (
    "flannel.alpha.coreos.com/backend-data", "flannel.alpha.coreos.com/public-ip", "netlab/synced", "netlab/load-balancers",
    "controller.kubernetes.io/pod-deletion-cost", "deployment.kubernetes.io/revision",
)  # fmt: skip
ANNOTATED = (
    NINES, "9" * 19, "-1", "1e5", "5", "[" * 3000, "[" * 100_000, "null", "{}", '{"VtepMAC":"ff:ff:ff:ff:ff:ff","VNI":1}',
    '{"VtepMAC":"00:00:00:00:00:00"}', '{"VtepMAC":5,"VNI":"x"}', '{"services":"' + NINES + '"}', '{"services":5}', "1.2.3.4",
    "255.255.255.255", '{"default/x":{"80/TCP":["node1"]}}', '{"default/x":5}', "a\nb", "172.30.1.1", 5, None,
)  # fmt: skip
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "VALUE", "uid": "VALUE", "controller": True}
CONTAINER = {"name": "c", "image": "nginx"}
FIELDS_AT_RISK: tuple[tuple[str, str, Json], ...] = (  # kind, subresource, patch; VALUE becomes a value
    ("Node", "", {"metadata": {"annotations": {ANNOTATIONS[0]: "VALUE"}}}),
    ("Node", "status", {"metadata": {"annotations": {ANNOTATIONS[1]: "VALUE"}}}),
    ("Lease", "", {"metadata": {"annotations": {ANNOTATIONS[2]: "VALUE"}}}),
    ("Lease", "", {"metadata": {"annotations": {ANNOTATIONS[3]: "VALUE"}}}),
    ("Pod", "status", {"metadata": {"annotations": {ANNOTATIONS[4]: "VALUE"}}}),
    ("ReplicaSet", "", {"metadata": {"annotations": {ANNOTATIONS[5]: "VALUE"}}}),
    ("Node", "status", {"metadata": {"labels": {"VALUE": "x", "a": "VALUE"}}}),
    ("Pod", "", {"metadata": {"labels": {"a": "VALUE"}, "finalizers": ["VALUE"], "ownerReferences": [OWNER]}}),
    ("Node", "status", {"status": {"addresses": [{"type": "InternalIP", "address": "VALUE"}]}}),
    ("Node", "status", {"status": {"images": "VALUE", "capacity": {"cpu": "VALUE"}}}),
    ("Node", "status", {"status": {"conditions": [{"type": "Ready", "status": "VALUE", "lastTransitionTime": "VALUE"}]}}),
    ("Node", "", {"spec": {"podCIDR": "VALUE", "taints": "VALUE"}}),
    ("Pod", "status", {"status": {"podIP": "VALUE", "podIPs": [{"ip": "VALUE"}]}}),
    ("Pod", "status", {"status": {"hostIP": "VALUE"}}),
    ("Service", "status", {"status": {"loadBalancer": {"ingress": [{"ip": "VALUE"}]}}}),
    ("Service", "", {"spec": {"ports": [{"port": 80, "targetPort": "VALUE"}], "externalIPs": ["VALUE"]}}),
    ("Lease", "", {"spec": {"renewTime": "VALUE", "leaseDurationSeconds": "VALUE", "holderIdentity": "VALUE"}}),
    ("Deployment", "", {"spec": {"replicas": "VALUE"}}),
    ("Deployment", "", {"spec": {"template": {"spec": {"tolerations": "VALUE", "serviceAccountName": "VALUE"}}}}),
    ("Deployment", "", {"spec": {"template": {"spec": {"containers": [{**CONTAINER, "resources": {"limits": "VALUE"}}]}}}}),
    ("EndpointSlice", "", {"endpoints": [{"addresses": ["VALUE"], "nodeName": "VALUE"}]}),
    ("ConfigMap", "", {"data": {"a": "VALUE"}}),
    ("Pod", "binding", {"target": {"name": "VALUE"}}),
    ("Pod", "binding", {"target": "VALUE"}),
)  # fmt: skip
KEYS = (
    "metadata", "spec", "status", "name", "namespace", "labels", "annotations", "ownerReferences", "finalizers", "uid",
    "resourceVersion", "generateName", "deletionTimestamp", "containers", "env", "valueFrom", "resourceFieldRef", "resources",
    "limits", "image", "command", "ports", "containerPort", "readinessProbe", "httpGet", "httpHeaders", "nodeName", "podCIDR",
    "addresses", "address", "type", "conditions", "images", "podIP", "podIPs", "hostIP", "loadBalancer", "ingress", "ip",
    "replicas", "selector", "matchLabels", "template", "target", "data", "binaryData", "endpoints", "addressType", "renewTime",
    "leaseDurationSeconds", "hostNetwork", "clusterIP", "externalIPs", "nodePort", "port", "dnsConfig", "hostAliases", "nodes",
    *ANNOTATIONS, "op", "path", "from", "value", "a\nb",
)  # fmt: skip
QUERIES = (
    "limit", "continue", "timeoutSeconds", "resourceVersion", "labelSelector", "fieldSelector", "gracePeriodSeconds", "dryRun",
    "fieldValidation", "propagationPolicy", "sendInitialEvents", "orphanDependents", "fieldManager",
)  # fmt: skip
MEDIA = ("application/json", "application/merge-patch+json", "application/json-patch+json", "text/plain", "")
OBJECT_METHODS = ("GET", "PUT", "PUT", "PATCH", "PATCH", "PATCH", "PATCH", "PATCH", "PATCH", "PATCH", "DELETE", "POST")
COLLECTION_METHODS = ("GET", "POST", "POST", "POST", "POST", "HEAD")


class Cases:
    """Draws requests. Bodies begin as valid objects of the store, and a few fields of them are changed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.objects = list(objects())

    def value(self, depth: int = 0) -> Any:
        choice = self.random.random()
        if depth < 4 and choice < 0.2:
            return {self.random.choice(KEYS): self.value(depth + 1) for _ in range(self.random.randint(0, 3))}
        if depth < 4 and choice < 0.3:
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        return self.random.choice(VALUES)

    def changed(self, body: Any) -> Any:
        """Return a body with one place of it replaced, removed or added."""
        if not isinstance(body, dict | list) or not body or self.random.random() < 0.15:
            return self.value()
        if isinstance(body, list):
            index = self.random.randrange(len(body))
            return [self.changed(item) if number == index else item for number, item in enumerate(body)]
        key = self.random.choice(list(body))
        fate = self.random.random()
        if fate < 0.1:
            return {name: item for name, item in body.items() if name != key}
        if fate < 0.35:
            return {**body, self.random.choice(KEYS): self.value()}
        return {**body, key: self.changed(body[key])}

    def at_risk(self) -> tuple[str, str, bytes, dict[str, str]]:
        """Return a request for one field at risk."""
        kind, subresource, pattern = self.random.choice(FIELDS_AT_RISK)
        resource, namespace, name = self.random.choice([item for item in self.objects if item[0].kind == kind])
        values = ANNOTATED if "annotations" in pattern.get("metadata", {}) else (*TEXTS, *TEXTS, *VALUES, *DEEP)
        body = _filled(pattern, self.random.choice(values))
        method, media = ("POST", MEDIA[0]) if subresource == "binding" else ("PATCH", MEDIA[1])
        return method, resource.path(namespace, name, subresource), json.dumps(body).encode(), self.headers(media)

    def headers(self, media: str) -> dict[str, str]:
        user = self.random.choices(("admin", "node:node1", "edge"), (8, 3, 1))[0]
        return {"Authorization": f"Bearer {TOKENS[user]}", "Content-Type": media}

    def patch(self, body: Any) -> Any:
        """Return a merge patch that leads to a place of the body, or a JSON patch."""
        if self.random.random() < 0.3:
            return [self.operation(body) for _ in range(self.random.randint(1, 4))]
        if isinstance(body, dict) and body and self.random.random() < 0.85:
            key = self.random.choice(list(body))
            return {key: self.patch(body[key]) if isinstance(body[key], dict) else self.changed(body[key])}
        return {self.random.choice(KEYS): self.value()}

    def operation(self, body: Any) -> Any:
        name = self.random.choice(("add", "replace", "remove", "copy", "move", "test", *TEXTS[:3], None, ["add"], {}))
        return {"op": name, "path": self.pointer(body), "from": self.pointer(body), "value": self.value()}

    def pointer(self, body: Any) -> Any:
        if self.random.random() < 0.1:
            return self.random.choice(VALUES)
        steps = []
        while isinstance(body, dict | list) and body and self.random.random() < 0.8:
            step = self.random.choice(list(body)) if isinstance(body, dict) else self.random.randrange(len(body))
            steps.append(str(step).replace("~", "~0").replace("/", "~1"))
            body = body[step]
        return "/" + "/".join([*steps, *([self.random.choice(("-", "0", NINES, *KEYS))] if self.random.random() < 0.3 else [])])

    def query(self) -> str:
        chosen = [name for name in QUERIES if self.random.random() < 0.06]
        texts = (
            "1",
            "All",
            "Strict",
            "Ignore",
            "Orphan",
            "a=b",
            "a>1",
            "a>" + NINES[:2000],
            "a in (b)",
            "metadata.name=x",
            *TEXTS,
        )
        return "&".join(f"{name}={quote(self.random.choice(texts)[:2000])}" for name in chosen)

    def request(self, api: Api) -> tuple[str, str, bytes, dict[str, str]]:
        if self.random.random() < 0.4:
            return self.at_risk()
        resource, namespace, name = self.random.choice(self.objects)
        parts, method = [resource.path(namespace)], self.random.choice(COLLECTION_METHODS)
        if self.random.random() < 0.85:
            parts.append(name if self.random.random() < 0.95 else quote(self.random.choice(TEXTS)[:200] or "x", safe=""))
            parts += self.random.choices(([], ["status"] * resource.has_status, ["binding"]), (6, 4, 0.3))[0]
            method = "POST" if parts[-1] == "binding" else self.random.choice(OBJECT_METHODS)
        stored = api.store.get(resource, namespace, name)
        body: Any = stored.copy() if stored else body_of(resource, name, namespace)
        if self.random.random() < 0.9:
            body["metadata"].pop("resourceVersion", None)
        if method == "POST":
            body["metadata"]["name"] = f"{name}-{self.random.randrange(100)}"
        body = self.patch(body) if method == "PATCH" else self.changed(body)
        media = MEDIA[0] if method != "PATCH" else MEDIA[2] if isinstance(body, list) else MEDIA[1]
        if self.random.random() < 0.03:
            media = self.random.choice(MEDIA)
        return method, f"{'/'.join(parts)}?{self.query()}", self.bytes_of(body), self.headers(media)

    def bytes_of(self, body: Any) -> bytes:
        content = json.dumps(body).encode()
        if self.random.random() > 0.03:
            return content
        spoilt = bytearray(content)
        for _ in range(self.random.randint(1, 5)):
            spoilt[self.random.randrange(len(spoilt))] = self.random.randrange(256)
        return bytes(spoilt)


def _filled(pattern: Any, value: Any) -> Any:
    if isinstance(pattern, dict):
        return {
            value if key == "VALUE" and isinstance(value, str) else key: _filled(item, value) for key, item in pattern.items()
        }
    if isinstance(pattern, list):
        return [_filled(item, value) for item in pattern]
    return value if pattern == "VALUE" else pattern


def world_of(api: Api) -> World:
    """Return the snapshot that controllers plan from."""
    decoded: dict[str, dict[str, Any]] = {}
    for field, resource in FIELDS.items():
        decoded[field] = {"/".join(filter(None, stored.key)): resource.decode(stored.body) for stored in api.store.list(resource)}
    return World(**decoded)


def read_everything(api: Api) -> None:
    """Do with the stored objects what their readers do."""
    world = world_of(api)
    for controller in CONTROLLERS:
        controller.reconcile(world, "2026-11-20T12:00:00Z")
    for stored in api.store.list(NODES):
        node = NODES.decode(stored.body)
        assert is_address(node.internal_ip)
        lease = parse_lease(node.metadata.name, node.spec.pod_cidr, node.metadata.annotations, Family.IPV4)
        assert not isinstance(lease, VxlanLease) or not int(lease.vtep_mac[:2], 16) & 1
    numbers = [pod.metadata.annotations.get(ANNOTATIONS[4], "0") for pod in world.pods.values()]
    numbers += [owned.metadata.annotations.get(ANNOTATIONS[5], "0") for owned in world.replica_sets.values()]
    assert all(re.fullmatch("-?[0-9]{1,19}", text) for text in numbers)
    for stored in api.store.list(LEASES):
        lease = LEASES.decode(stored.body)
        assert lease.synced("nodes") < 2**64
        assert isinstance(lease.healthy_nodes, dict)
    for stored in api.store.list(PODS):
        read_pod(stored.body)
    for stored in api.store.list(SERVICES):
        assert all(is_address(point.ip) for point in SERVICES.decode(stored.body).status.load_balancer.ingress)
    for _, stored in api.store.all():
        labels = stored.body["metadata"].get("labels", {})
        assert all(text.isprintable() for pair in labels.items() for text in pair)


def is_address(text: str) -> bool:
    """Tell whether a text is empty or an IPv4 address: what rules, routes and names may be made from."""
    return not text or str(IPv4Address(text)) == text


def read_pod(body: Json) -> None:
    pod = PODS.decode(body)
    assert is_address(pod.status.pod_ip)
    assert is_address(pod.status.host_ip)
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        with contextlib.suppress(podfiles.ConfigError):  # a pod that waits, with this as its reason
            found = podfiles.environment(pod, container, podfiles.Sources(), name="x", base={})
            assert all(isinstance(text, str) and "\0" not in text for pair in found.whole.items() for text in pair)


async def test_random_requests(store: Store) -> None:
    """No request is answered with 500, and what is accepted can be read by every part of the lab."""
    lab = Lab(metadata=ObjectMeta(name="x"), spec=LabSpec(nodes=(LabNode(name="node1"), LabNode(name="node2"))))
    api = Api(store, tokens=TokenTable.of(TOKENS), validate=LabRules(lab, store))
    fill(api)
    cases, codes, failed = Cases(SEED), Counter[int](), []
    async with served(api) as url, aiohttp.ClientSession(url) as session:
        for number in range(CASES):
            method, path, content, headers = cases.request(api)
            async with session.request(method, path, data=content, headers=headers, allow_redirects=False) as response:
                codes[response.status] += 1
                text = await response.read()
            if response.status >= 500:
                failed.append((number, method, path[:200], content[:500], text[:300]))
            if number % BLOCK == 0:
                read_everything(api)
                fill(api, missing=True)
    read_everything(api)

    assert [] == failed
    assert codes[200] + codes[201] > CASES / 8, codes  # the cases are near enough to what is right
    assert {resource.kind for resource in RESOURCES} >= {resource.kind for resource, _ in api.store.all()}
