"""Every token against every verb, path and body: who reads, who writes, and that a refusal changes nothing.

The expected answers come from `ALLOWED`, a table of the documented rights (docs/api.md); it shares no code with `auth`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from test_controlplane_server import served

from netlab.api.resources import RESOURCES, Json, Resource
from netlab.controlplane.api import Api, Target
from netlab.controlplane.auth import ADMIN, TokenTable

TOKENS = {"admin": "admin-token", "edge": "edge-token", "node:node1": "node1-token", "node:node2": "node2-token"}
USERS = ("node:node1", "node:node2", "edge", "none", "of another lab")
NAMESPACES_OF = {"Lease": ("kube-node-lease", "kube-system")}
NAMES_OF = {"Node": ("node1", "node2"), "Pod": ("pod1", "pod2", "pod0"), "Lease": ("node1", "node2", "netlab-edge")}
POD_SPEC = {"containers": [{"name": "c", "image": "nginx"}]}
LABELS = {"matchLabels": {"a": "b"}}
WORKLOAD = {"selector": LABELS, "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC}}
FLANNEL = {
    "flannel.alpha.coreos.com/backend-type": "vxlan",
    "flannel.alpha.coreos.com/kube-subnet-manager": "true",
    "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"0a:58:0a:f4:01:01"}',
}
SPECS: dict[str, Json] = {
    "Service": {"spec": {"ports": [{"port": 80}]}},
    "Deployment": {"spec": WORKLOAD},
    "ReplicaSet": {"spec": WORKLOAD},
    "DaemonSet": {"spec": WORKLOAD},
    "EndpointSlice": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.244.1.2"]}]},
    "Lab": {"spec": {"nodes": [{"name": "node1"}]}},
}

# Who may write what: (user, kind, name, subresource). Everything else of a lab's parts is reading.
ALLOWED = frozenset({
    ("node:node1", "Node", "node1", ""), ("node:node1", "Node", "node1", "status"),
    ("node:node2", "Node", "node2", ""), ("node:node2", "Node", "node2", "status"),
    ("node:node1", "Pod", "pod1", "status"), ("node:node2", "Pod", "pod2", "status"),
    ("node:node1", "Lease", "kube-node-lease/node1", ""), ("node:node2", "Lease", "kube-node-lease/node2", ""),
    ("edge", "Lease", "kube-system/netlab-edge", ""),
    ("node:node1", "Event", "x", ""), ("node:node2", "Event", "x", ""), ("edge", "Event", "x", ""),
})  # fmt: skip
BAD_WATCH = "?watch=1&timeoutSeconds=x"  # authorized, and then refused: a stream would have to be read


@dataclass(frozen=True)
class Attempt:
    """One request, and what it would change."""

    method: str
    path: str
    kind: str
    name: str = ""  # with the namespace for Leases
    subresource: str = ""
    body: Any = None
    media_type: str = "application/json"

    @property
    def reads(self) -> bool:
        return self.method == "GET"


def body_of(resource: Resource, name: str, namespace: str) -> Json:
    meta = {"name": name, **({"namespace": namespace} if resource.namespaced else {})}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, **SPECS.get(resource.kind, {})}


def objects() -> Iterator[tuple[Resource, str, str]]:
    """Yield kind, namespace and name of the objects that the attempts aim at."""
    for resource in RESOURCES:
        for name in NAMES_OF.get(resource.kind, ("x",)):
            spaces = NAMESPACES_OF.get(resource.kind, ("default",)) if resource.namespaced else ("",)
            yield resource, spaces[name == "netlab-edge"] if len(spaces) > 1 else spaces[0], name


def fill(api: Api, *, missing: bool = False) -> None:
    """Create the objects; `missing`: those that are not there."""
    for resource, namespace, name in objects():
        if missing and api.store.get(resource, namespace, name) is not None:
            continue
        body = body_of(resource, name, namespace)
        if resource.kind == "Pod":
            body["spec"] = {**POD_SPEC, **({"nodeName": f"node{name[-1]}"} if name != "pod0" else {})}
        if resource.kind == "Node":
            body["metadata"]["annotations"] = FLANNEL | {"flannel.alpha.coreos.com/public-ip": f"172.30.1.{name[-1]}"}
            body["spec"] = {"podCIDR": f"10.244.{name[-1]}.0/24"}
            body["status"] = {"addresses": [{"type": "InternalIP", "address": f"172.30.1.{name[-1]}"}]}
        api.create(ADMIN, Target(resource, namespace), body)


MERGE, JSON_PATCH, STRATEGIC = (f"application/{kind}+json" for kind in ("merge-patch", "json-patch", "strategic-merge-patch"))
PATCHES = (
    (MERGE, {}),
    (MERGE, {"metadata": {"labels": {"stolen": "yes"}}}),
    (JSON_PATCH, [{"op": "add", "path": "/metadata/annotations", "value": {"stolen": "yes"}}]),
    (STRATEGIC, {"metadata": {"labels": {"stolen": "yes"}}}),
    (MERGE, ["garbage"]),
)


def attempts() -> Iterator[Attempt]:
    """Yield every verb on every path, with bodies that are well formed, hostile and garbage."""
    seen: set[str] = set()
    for resource, namespace, name in objects():
        kind, collection = resource.kind, resource.path(namespace)
        label = f"{namespace}/{name}" if kind == "Lease" else name
        if collection not in seen:
            seen.add(collection)
            yield from (
                Attempt("GET", path, kind) for path in (collection, resource.path(), f"{collection}?watch=1&timeoutSeconds=x")
            )
            yield Attempt("DELETE", collection, kind)
            yield Attempt("POST", collection, kind, body=body_of(resource, f"{name}-new", namespace))
            yield Attempt("POST", collection, kind, body=["garbage"])
        path = f"{collection}/{name}"
        yield Attempt("DELETE", path, kind, label)
        for subresource in ("", *(["status"] if resource.has_status else []), *(["binding"] if kind == "Pod" else [])):
            where = f"{path}/{subresource}" if subresource else path
            yield Attempt("GET", where, kind, label, subresource)
            yield Attempt("PUT", where, kind, label, subresource, body_of(resource, name, namespace))
            yield Attempt("POST", where, kind, label, subresource, {"target": {"name": "node1"}})
            yield from (Attempt("PATCH", where, kind, label, subresource, body, media) for media, body in PATCHES)


def expected(user: str, attempt: Attempt) -> frozenset[int]:
    """Return the codes that an attempt may have, by the documented rights alone."""
    if user in {"none", "of another lab"}:
        return frozenset({401})
    if attempt.reads:
        return _reading(attempt)
    if (attempt.method == "POST") != (not attempt.name or attempt.subresource == "binding") and attempt.method != "DELETE":
        return frozenset({405})
    if attempt.method == "POST":
        return _creating(attempt)
    return _changing(user, attempt)


def _changing(user: str, attempt: Attempt) -> frozenset[int]:
    if attempt.media_type == STRATEGIC:
        return frozenset({415})
    if (user, attempt.kind, attempt.name, attempt.subresource) not in ALLOWED or attempt.method == "DELETE":
        return frozenset({403})
    return frozenset({200, 400, 403, 422} if attempt.method == "PATCH" else {200, 403, 422})


def _reading(attempt: Attempt) -> frozenset[int]:
    if attempt.subresource == "binding":
        return frozenset({405})
    if attempt.kind == "Secret":
        return frozenset({403})
    return frozenset({400} if attempt.path.endswith(BAD_WATCH) else {200})


def _creating(attempt: Attempt) -> frozenset[int]:
    if isinstance(attempt.body, list):
        return frozenset({400})
    return frozenset({201} if attempt.kind == "Event" else {403})


@pytest.fixture
async def session(api: Api):
    api.tokens = TokenTable.of(TOKENS)
    fill(api)
    async with served(api) as url, aiohttp.ClientSession(url) as opened:
        yield opened


@pytest.mark.parametrize("user", USERS)
async def test_every_token_on_every_path(api: Api, session: aiohttp.ClientSession, user: str) -> None:
    """Each of 1,865 requests has the documented answer, and a refused one leaves the store as it was."""
    token = TOKENS.get(user, "another-lab's-token")
    headers = {} if user == "none" else {"Authorization": f"Bearer {token}"}
    wrong, codes = [], Counter()
    for attempt in attempts():
        version = api.store.version
        given = {**headers, "Content-Type": attempt.media_type}
        async with session.request(attempt.method, attempt.path, json=attempt.body, headers=given) as response:
            codes[response.status] += 1
            refused_and_stored = response.status >= 400 and api.store.version != version
            if response.status not in expected(user, attempt) or refused_and_stored:
                wrong.append((response.status, attempt.method, attempt.path, attempt.body, (await response.text())[:200]))

    assert [] == wrong
    assert sum(codes.values()) == 373


async def test_what_the_parts_of_a_lab_can_change(api: Api, session: aiohttp.ClientSession) -> None:
    """After all attempts of all tokens, only the objects of their own differ, and no label of a pod."""
    before = snapshot(api)
    for user in USERS:
        headers = {} if user == "none" else {"Authorization": f"Bearer {TOKENS.get(user, 'x')}"}
        for attempt in attempts():
            given = {**headers, "Content-Type": attempt.media_type}
            async with session.request(attempt.method, attempt.path, json=attempt.body, headers=given) as response:
                await response.read()
    after = snapshot(api)

    changed = {key for key in after if after[key] != before.get(key)}
    own = {
        (kind, name if "/" in name else f"default/{name}" if kind in {"Pod", "Event"} else f"/{name}")
        for _, kind, name, _ in ALLOWED
    }
    assert own | {("Event", "default/x-new")} == changed
    assert before.keys() <= after.keys()
    for name in ("pod1", "pod2"):
        kept = [
            {key: value for key, value in found["Pod", f"default/{name}"].items() if key != "status"} for found in (before, after)
        ]
        assert kept[0] == kept[1]


def snapshot(api: Api) -> dict[tuple[str, str], Json]:
    found = {}
    for resource, stored in api.store.all():
        meta = {name: value for name, value in stored.body["metadata"].items() if name != "resourceVersion"}
        found[resource.kind, "/".join(stored.key)] = {**stored.body, "metadata": meta}
    return found
