from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import pytest
from aiohttp import web

from netlab.api.resources import CONFIG_MAPS, NODES, PODS, SECRETS, SERVICES
from netlab.controlplane import requests
from netlab.controlplane.api import Api
from netlab.controlplane.certificates import ensure_pki
from netlab.controlplane.http import HttpClient
from netlab.controlplane.informer import Informer
from netlab.controlplane.kubeconfig import kubeconfig, write_kubeconfig
from netlab.controlplane.local import LocalClient
from netlab.controlplane.server import serve
from netlab.controlplane.store import Store
from netlab.controlplane.sync import SyncClient
from netlab.errors import ApiError
from netlab.files import socket_address

ADMIN = {"Authorization": "Bearer admin-token"}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}}
CONFIGS = "/api/v1/namespaces/default/configmaps"


@asynccontextmanager
async def served(api: Api, context: ssl.SSLContext | None = None, port: int = 0, **options: Any) -> AsyncIterator[str]:
    bound = socket.create_server(("127.0.0.1", port))
    handle = await serve(api, [bound], context, **options)
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        await handle.close()


@pytest.fixture
async def url(api: Api) -> AsyncIterator[str]:
    async with served(api) as address:
        yield address


@pytest.fixture
async def session(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url, headers=ADMIN) as opened:
        yield opened


@pytest.fixture
async def remote(url: str) -> AsyncIterator[HttpClient]:
    async with HttpClient(url, None, "admin-token") as opened:
        yield opened


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api", {"kind": "APIVersions", "versions": ["v1"]}),
        ("/apis", {"kind": "APIGroupList"}),
        ("/api/v1", {"kind": "APIResourceList", "groupVersion": "v1"}),
        ("/apis/apps", {"kind": "APIGroup", "name": "apps"}),
        ("/apis/apps/v1", {"kind": "APIResourceList", "groupVersion": "apps/v1"}),
        ("/apis/discovery.k8s.io/v1/", {"groupVersion": "discovery.k8s.io/v1"}),
        ("/version", {"major": "1"}),
        ("/api/v1/pods", {"kind": "PodList", "apiVersion": "v1", "items": []}),
        ("/apis/apps/v1/namespaces/default/deployments", {"kind": "DeploymentList", "apiVersion": "apps/v1"}),
        ("/api/v1/namespaces/default", {"kind": "Namespace"}),
        ("/api/v1/namespaces/default/services?limit=500", {"kind": "ServiceList", "items": []}),
    ],
)
async def test_paths(session: aiohttp.ClientSession, path: str, expected: dict[str, Any]) -> None:
    """Discovery, lists and objects are where Kubernetes has them."""
    async with session.get(path) as response:
        answer = await response.json()

    assert 200 == response.status
    assert expected == {key: answer[key] for key in expected}


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "code", "reason"),
    [
        ("GET", "/api/v1/pods", {"Authorization": ""}, None, 401, "Unauthorized"),
        ("GET", "/api/v1/pods", {"Authorization": "Bearer wrong"}, None, 401, "Unauthorized"),
        ("GET", "/api/v1/secrets", {"Authorization": "Bearer node1-token"}, None, 403, "Forbidden"),
        ("GET", "/nowhere", {}, None, 404, "NotFound"),
        ("GET", "/api/v1/widgets", {}, None, 404, "NotFound"),
        ("GET", "/api/v1/pods/p", {}, None, 404, "NotFound"),
        ("GET", "/api/v1/namespaces/default/nodes", {}, None, 404, "NotFound"),
        ("GET", "/apis/apps/v2/deployments", {}, None, 404, "NotFound"),
        ("GET", CONFIGS + "/c/status", {}, None, 404, "NotFound"),
        ("GET", CONFIGS + "/none", {}, None, 404, "NotFound"),
        ("PUT", CONFIGS, {}, b"{}", 405, "MethodNotAllowed"),
        ("POST", "/api/v1/configmaps", {"Content-Type": "application/json"}, b"{}", 405, "MethodNotAllowed"),
        ("GET", CONFIGS, {"Accept": "application/vnd.kubernetes.protobuf"}, None, 406, "NotAcceptable"),
        ("POST", CONFIGS, {"Content-Type": "application/vnd.kubernetes.protobuf"}, b"k8s\0", 415, "UnsupportedMediaType"),
        ("POST", CONFIGS, {"Content-Type": "application/json"}, b"{", 400, "BadRequest"),
        ("POST", CONFIGS, {"Content-Type": "application/json"}, b"\xff\xfe", 400, "BadRequest"),
        ("POST", CONFIGS, {"Content-Type": "application/json"}, b"[]", 400, "BadRequest"),
        ("POST", CONFIGS, {"Content-Type": "application/json"}, b"[" * 100000, 400, "BadRequest"),
        ("POST", CONFIGS + "?dryRun=Some", {"Content-Type": "application/json"}, b"{}", 400, "BadRequest"),
        ("POST", CONFIGS + "?fieldValidation=x", {"Content-Type": "application/json"}, b"{}", 400, "BadRequest"),
        (
            "PATCH",
            CONFIGS + "/none",
            {"Content-Type": "application/strategic-merge-patch+json"},
            b"{}",
            415,
            "UnsupportedMediaType",
        ),
        ("GET", CONFIGS + "?labelSelector=((", {}, None, 400, "BadRequest"),
        ("GET", CONFIGS + "?limit=x", {}, None, 400, "BadRequest"),
        ("GET", CONFIGS + "?watch=maybe", {}, None, 400, "BadRequest"),
        ("DELETE", CONFIGS + "/none?propagationPolicy=x", {}, None, 400, "BadRequest"),
        ("DELETE", CONFIGS + "/none?gracePeriodSeconds=-1", {}, None, 400, "BadRequest"),
    ],
)
async def test_refusals(
    session: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], body: bytes | None, code: int, reason: str
) -> None:
    """Every refusal is a Status with Kubernetes' code and reason."""
    async with session.request(method, path, headers=headers, data=body) as response:
        answer = await response.json()

    assert (code, "Status", "Failure", reason) == (response.status, answer["kind"], answer["status"], answer["reason"])
    assert code == answer["code"]
    assert isinstance(answer["details"], dict)  # kubectl debug reads it unchecked (kubectl finding 5.1)


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/version"])
async def test_open_paths(url: str, path: str) -> None:
    """Health and version need no token."""
    async with aiohttp.ClientSession(url) as session, session.get(path) as response:
        assert 200 == response.status


async def test_verbs_over_http(remote: HttpClient) -> None:
    """The remote client does what the local one does."""
    made = await remote.create(CONFIG_MAPS, CONFIG)
    updated = await remote.update(CONFIG_MAPS, {**made, "data": {"k": "w"}})
    patched = await remote.patch(CONFIG_MAPS, "c", {"data": {"l": "x"}})
    listed = await remote.list(CONFIG_MAPS, namespace="default", field_selector="metadata.name=c")
    got = await remote.get(CONFIG_MAPS, "c")
    answer = await remote.delete(CONFIG_MAPS, "c")

    assert {"k": "w"} == updated["data"]
    assert {"k": "w", "l": "x"} == patched["data"]
    assert [patched] == list(listed.items) == [got]
    assert ("Success", "c", made["metadata"]["uid"]) == (answer["status"], answer["details"]["name"], answer["details"]["uid"])


async def test_errors_over_http(remote: HttpClient, client: LocalClient) -> None:
    """An error is the same on both sides of the wire: code, reason, words, causes, details."""
    body = {"metadata": {"name": "s"}, "spec": {"clusterIP": "10.97.0.1", "ports": [{"port": 80}]}}
    errors = []
    for side in (remote, client):
        with pytest.raises(ApiError) as caught:
            await side.create(SERVICES, body)
        errors.append(caught.value)
    first, second = [(e.code, e.reason, e.message, e.causes, e.details) for e in errors]

    assert first == second
    assert first[3][0]["field"] == "spec.clusterIPs"


async def test_warnings(session: aiohttp.ClientSession) -> None:
    """An unknown field is pruned and named in a Warning header, unless validation is strict."""
    body = json.dumps({**CONFIG, "dato": 1})
    async with session.post(CONFIGS, data=body, headers={"Content-Type": "application/json"}) as response:
        answer = await response.json()
    async with session.post(
        CONFIGS + "?fieldValidation=Strict", data=body, headers={"Content-Type": "application/json"}
    ) as strict:
        refused = await strict.json()

    assert (201, '299 - "unknown field \\"dato\\""') == (response.status, response.headers["Warning"])
    assert "dato" not in answer
    assert 'strict decoding error: unknown field "dato"' in refused["message"]


TWICE = b"""{
  "metadata": {"name": "d", "name": "d", "labels": {"a": "b", "a": "c"}},
  "spec": {"replicas": 1, "replicas": 2, "unknown": 1, "unknown": {"a": 1, "a": 2}, "selector": {"matchLabels": {"a": "c"}},
    "template": {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [
      {"name": "b", "image": "nginx"}, {"name": "c", "image": "nginx", "image": "nginx"}]}}}
}"""
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
BODY_FAULTS = (
    'duplicate field "metadata.name"',
    'duplicate field "metadata.labels.a"',
    'duplicate field "spec.replicas"',
    'duplicate field "spec.template.spec.containers[1].image"',
    'unknown field "spec.unknown"',
)
MERGE = b'{"data": {"k": "w", "k": "x"}}'
OPERATIONS = b'[{"op": "add", "path": "/data/l", "path": "/data/m", "value": "y"}]'


@pytest.mark.parametrize(
    ("method", "path", "kind", "body", "faults"),
    [
        ("POST", DEPLOYMENTS, "json", TWICE, BODY_FAULTS),
        ("PUT", CONFIGS + "/c", "json", b'{"metadata": {"name": "c"}, "data": {}, "data": {}}', ('duplicate field "data"',)),
        ("PATCH", CONFIGS + "/c", "merge-patch+json", MERGE, ('duplicate field "data.k"',)),
        ("PATCH", CONFIGS + "/c", "json-patch+json", OPERATIONS, ('json patch duplicate field "[0].path"',)),
        ("POST", CONFIGS, "json", b'{"metadata": {"name": "n"}, "data": {"a": "1", "b": "1"}}', ()),
    ],
)
async def test_duplicate_fields(
    session: aiohttp.ClientSession, client: LocalClient, method: str, path: str, kind: str, body: bytes, faults: tuple[str, ...]
) -> None:  # fmt: skip
    """A field that a body names twice is an error, a warning or ignored, as fieldValidation says (kubectl finding 5.8)."""
    await client.create(CONFIG_MAPS, CONFIG)
    seen = []
    for mode in ("Strict", "Warn", "Ignore"):
        query = f"{path}?dryRun=All&fieldValidation={mode}"
        async with session.request(method, query, data=body, headers={"Content-Type": f"application/{kind}"}) as response:
            answer = await response.json()
            warnings = [json.loads(text.removeprefix("299 - ")) for text in response.headers.getall("Warning", ())]
        seen.append((response.status < 300, str(answer.get("message", "")).partition("strict decoding error: ")[2], warnings))

    assert [(not faults, ", ".join(faults), []), (True, "", list(faults)), (True, "", [])] == seen


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", CONFIGS, json.dumps({**CONFIG, "metadata": {"name": "n"}}).encode(), 201),
        ("PUT", CONFIGS + "/c", json.dumps(CONFIG).encode(), 200),
        ("DELETE", CONFIGS + "/c", b'{"kind": "DeleteOptions", "apiVersion": "v1"}', 200),
        ("PATCH", CONFIGS + "/c", b"{}", 415),  # the media type is the kind of patch
        ("POST", CONFIGS, b"k8s\0", 400),
    ],
)
async def test_a_body_without_content_type_is_json(
    session: aiohttp.ClientSession, client: LocalClient, method: str, path: str, body: bytes, code: int
) -> None:
    """Clients in Python name no media type (kubectl finding 3)."""
    await client.create(CONFIG_MAPS, CONFIG)
    async with session.request(method, path, data=body, skip_auto_headers={"Content-Type"}) as response:
        assert code == response.status


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "words"),
    [
        ("POST", CONFIGS, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\ndata: {a: yes and no}\n", 201, ""),
        ("PUT", CONFIGS + "/c", json.dumps(CONFIG), 200, ""),  # JSON is YAML
        ("POST", CONFIGS, "kind: [", 400, "the body, line 2, column 1: invalid YAML"),
        ("POST", CONFIGS, "kind: ConfigMap\nkind: ConfigMap\n", 400, "line 2, column 1"),
        ("POST", CONFIGS, "", 400, "one YAML document, got 0"),
        ("POST", CONFIGS, "a: 1\n---\nb: 1\n", 400, "one YAML document, got 2"),
        ("POST", CONFIGS, "kind: ConfigMap\nmetadata: {generation: .inf}\n", 400, "JSON cannot represent the number"),
        ("POST", CONFIGS, f"metadata: {{generation: {'9' * 5000}}}", 400, ""),
        ("POST", CONFIGS, "a: &a [x, x]\nb: &b [*a, *a]\nc: " + "[" * 200, 400, ""),
        ("POST", CONFIGS, "!!python/object/apply:os.system [true]", 400, ""),
        ("PATCH", CONFIGS + "/c", "data: {}", 415, ""),
        ("POST", CONFIGS, b"kind: \xff\xfe", 400, "the body is not UTF-8"),
    ],
)
async def test_a_body_may_be_yaml(
    session: aiohttp.ClientSession, client: LocalClient, method: str, path: str, body: str | bytes, code: int, words: str
) -> None:
    """As in Kubernetes; what is no YAML is refused with its line."""
    await client.create(CONFIG_MAPS, CONFIG)
    async with session.request(method, path, data=body, headers={"Content-Type": "application/yaml"}) as response:
        answer = await response.json()

    assert (code, True) == (response.status, words in str(answer.get("message", "")))


def test_yaml_grows_no_larger_as_json() -> None:
    """The limit of a body holds for what the client sent."""
    assert b'{"a":[[],[1]]}' == requests.json_body(requests.Body(b"a: [[],[1]]", requests.YAML_TYPE)).content


@pytest.mark.parametrize(
    ("path", "held", "kind"),
    [
        (CONFIGS + "/x", False, "Status"),
        (CONFIGS + "/x", True, "ConfigMap"),
        ("/api/v1/namespaces/default/endpoints/x", False, "Status"),
        ("/api/v1/nodes/x", False, "Status"),
        (DEPLOYMENTS + "/x", False, "Status"),
        ("/api/v1/namespaces/default/pods/x", False, "Pod"),
        ("/api/v1/namespaces/default/services/x", False, "Service"),
        ("/api/v1/namespaces/x", False, "Namespace"),
    ],
)
async def test_a_delete_answers_as_the_kind_does(session: aiohttp.ClientSession, path: str, held: bool, kind: str) -> None:
    """Pods, Services and Namespaces answer with the object, others with a Status once they are gone (kubectl finding 5.8)."""
    collection, _, _ = path.rpartition("/")
    pod = {"containers": [{"name": "c", "image": "nginx"}]}
    specs = {
        "services": {"ports": [{"port": 80}]},
        "pods": pod,
        "deployments": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}},
    }
    body: dict[str, Any] = {"metadata": {"name": "x", "finalizers": ["example.com/hold"] if held else []}}
    if (spec := specs.get(collection.rpartition("/")[2])) is not None:
        body["spec"] = spec
    async with session.post(collection, json=body) as response:
        made = await response.json()
    async with session.delete(path) as response:
        answer = await response.json()
    details = answer.get("details") or {}

    assert (200, kind) == (response.status, answer["kind"])
    assert ("x", made["metadata"]["uid"]) == (
        (details["name"], details["uid"]) if kind == "Status" else (answer["metadata"]["name"], answer["metadata"]["uid"])
    )


async def test_dry_run(session: aiohttp.ClientSession, api: Api) -> None:
    """dryRun=All answers as if, and stores nothing."""
    version = api.store.version
    headers = {"Content-Type": "application/json"}
    async with session.post(CONFIGS + "?dryRun=All", data=json.dumps(CONFIG), headers=headers) as response:
        answer = await response.json()

    assert (201, {"k": "v"}, version) == (response.status, answer["data"], api.store.version)


async def test_delete_options_in_the_body(session: aiohttp.ClientSession, client: LocalClient) -> None:
    """Kubectl sends its options as a body."""
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "nginx"}]}
    await client.create(PODS, {"metadata": {"name": "p"}, "spec": spec})
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 7, "propagationPolicy": "Background"}
    path = "/api/v1/namespaces/default/pods/p"
    async with session.delete(path, json=options) as response:
        answer = await response.json()

    assert ("Pod", 7) == (answer["kind"], answer["metadata"]["deletionGracePeriodSeconds"])


async def test_delete_collection(session: aiohttp.ClientSession, client: LocalClient) -> None:
    """DELETE of a collection deletes what the selectors choose."""
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, {"metadata": {"name": name, "labels": {"n": name}}})
    async with session.delete(CONFIGS + "?labelSelector=n%3Da") as response:
        answer = await response.json()

    assert ("ConfigMapList", 1) == (answer["kind"], len(answer["items"]))
    assert 1 == len((await client.list(CONFIG_MAPS)).items)


async def test_binding(session: aiohttp.ClientSession, client: LocalClient) -> None:
    """A scheduler binds over the subresource."""
    await client.create(NODES, {"metadata": {"name": "node1"}})
    await client.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "node1"}}
    async with session.post("/api/v1/namespaces/default/pods/p/binding", json=body) as response:
        pass

    assert (201, "node1") == (response.status, (await client.get(PODS, "p"))["spec"]["nodeName"])


# ---- watch
async def lines(session: aiohttp.ClientSession, path: str, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(5), session.get(path) as response:
        assert 200 == response.status
        async for line in response.content:
            found.append(json.loads(line))
            if len(found) == count:
                break
    return found


async def test_watch_lines(session: aiohttp.ClientSession, client: LocalClient) -> None:
    """A watch is a line of JSON per change."""
    await client.create(CONFIG_MAPS, CONFIG)
    found = await lines(session, CONFIGS + "?watch=1&resourceVersion=0", 1)

    assert ("ADDED", "ConfigMap", "c") == (found[0]["type"], found[0]["object"]["kind"], found[0]["object"]["metadata"]["name"])


async def test_watch_list_over_http(session: aiohttp.ClientSession, client: LocalClient) -> None:
    """The initial events end with an annotated bookmark, as new clients wait for."""
    await client.create(CONFIG_MAPS, CONFIG)
    query = "?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    found = await lines(session, CONFIGS + query, 2)

    assert ["ADDED", "BOOKMARK"] == [event["type"] for event in found]
    assert "true" == found[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"]


async def test_watch_of_one_object(session: aiohttp.ClientSession, client: LocalClient) -> None:
    """A watch may name one object by a field selector, or by its path."""
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, {"metadata": {"name": name}})
    found = [
        *await lines(session, CONFIGS + "?watch=1&fieldSelector=metadata.name%3Db", 1),
        *await lines(session, CONFIGS + "/b?watch=1", 1),
    ]

    assert ["b", "b"] == [event["object"]["metadata"]["name"] for event in found]


async def test_expired_over_http(session: aiohttp.ClientSession, remote: HttpClient) -> None:
    """A position that is lost ends the watch with an ERROR event; the client raises it as 410."""
    found = await lines(session, CONFIGS + "?watch=1&resourceVersion=99999", 1)
    with pytest.raises(ApiError) as caught:
        await anext(remote.watch(CONFIG_MAPS, resource_version="99999"))

    assert ("ERROR", 410, "Expired") == (found[0]["type"], found[0]["object"]["code"], found[0]["object"]["reason"])
    assert 410 == caught.value.code


async def test_watch_timeout(session: aiohttp.ClientSession) -> None:
    """TimeoutSeconds ends a watch in good order."""
    async with asyncio.timeout(5), session.get(CONFIGS + "?watch=1&resourceVersion=1&timeoutSeconds=1") as response:
        assert b"" == await response.read()


async def test_a_large_object_in_a_watch(remote: HttpClient, client: LocalClient) -> None:
    """An object larger than any line buffer arrives whole."""
    text = "x" * 700_000
    await client.create(CONFIG_MAPS, {"metadata": {"name": "big"}, "data": {"k": text}})
    async with asyncio.timeout(5):
        event = await anext(remote.watch(CONFIG_MAPS, resource_version="0"))

    assert text == event.object["data"]["k"]


# ---- TLS, restart, other clients
async def test_restart_of_the_server(api: Api, store: Store, new_api, free_port: Callable[[], int]) -> None:
    """Informers live through a restart of the server on the same store, over TLS or not, without a new list."""
    client, port = LocalClient(api), free_port()
    async with served(api, port=port) as url:
        remote = await HttpClient(url, None, "node1-token").__aenter__()
        informer = Informer(remote, CONFIG_MAPS)
        task = asyncio.create_task(informer.run())
        async with asyncio.timeout(5):
            await informer.wait_for()
    await client.create(CONFIG_MAPS, CONFIG)
    async with served(new_api(store), port=port), asyncio.timeout(5):
        await informer.wait_for(store.last_change(CONFIG_MAPS))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    remote.close()

    assert ["default/c"] == list(informer.cache)


async def test_tls(api: Api, tmp_path: Path) -> None:
    """Clients verify the lab's certificate; without its authority they refuse to talk."""
    pki = ensure_pki(tmp_path, ["127.0.0.1", "localhost"])
    async with served(api, pki.server_context()) as url:
        async with HttpClient(url, pki.ca_file, "admin-token") as trusting:
            found = await trusting.list(NODES)
        other = ensure_pki(tmp_path / "other", ["127.0.0.1"])
        async with HttpClient(url, other.ca_file, "admin-token") as strange:
            with pytest.raises(ApiError) as caught:
                await strange.list(NODES)

    assert () == found.items
    assert (503, "ServiceUnavailable") == (caught.value.code, caught.value.reason)


async def test_sync_client(api: Api, tmp_path: Path) -> None:
    """The blocking client has the same verbs and errors, keeps its connection and survives its loss."""
    pki = ensure_pki(tmp_path, ["127.0.0.1"])

    def work(url: str) -> dict[str, Any]:
        with SyncClient(url, pki.ca_file, "admin-token") as client:
            made = client.create(CONFIG_MAPS, CONFIG)
            client.update(CONFIG_MAPS, {**made, "data": {"k": "w"}})
            client.patch(CONFIG_MAPS, "c", {"data": {"l": "x"}})
            kept = client._kept
            event = next(client.watch(CONFIG_MAPS, resource_version="0"))
            listed = client.list(CONFIG_MAPS, label_selector="!a")
            if kept is not None and kept.sock is not None:
                kept.sock.shutdown(socket.SHUT_RDWR)
            got = client.get(CONFIG_MAPS, "c")
            client.delete(CONFIG_MAPS, "c")
            with pytest.raises(ApiError, match='configmaps "c" not found'):
                client.get(CONFIG_MAPS, "c")
            raw = json.loads(client.raw("/api/v1/namespaces/default/configmaps"))
            return {"event": event, "listed": listed, "got": got, "kept": kept is client._kept, "raw": raw["kind"]}

    async with served(api, pki.server_context()) as url:
        found = await asyncio.to_thread(work, url)

    assert {"k": "w", "l": "x"} == found["got"]["data"]
    assert (("ADDED", "c"), 1, True, "ConfigMapList") == (
        (found["event"].type, found["event"].object["metadata"]["name"]),
        len(found["listed"].items),
        found["kept"],
        found["raw"],
    )


@pytest.mark.parametrize("depth", [1, 20])
async def test_sync_client_through_a_door(api: Api, tmp_path: Path, depth: int) -> None:
    """The blocking client speaks the same TLS over a Unix socket, wherever that is; a door that is gone is 503."""
    pki = ensure_pki(tmp_path, ["127.0.0.1"])
    door = tmp_path.joinpath(*depth * ["a-folder"], "door")
    door.parent.mkdir(parents=True)
    client = SyncClient("https://127.0.0.1:1", pki.ca_file, "admin-token", door=door)

    def work() -> tuple[int, str]:
        client.create(CONFIG_MAPS, CONFIG)
        event = next(client.watch(CONFIG_MAPS, resource_version="0"))
        return len(client.list(CONFIG_MAPS).items), event.type

    with socket.socket(socket.AF_UNIX) as bound, socket_address(door) as address:
        bound.bind(address)
        handle = await serve(api, [bound], pki.server_context())
        found = await asyncio.to_thread(work)
        client.close()
        await handle.close()
    with pytest.raises(ApiError, match="cannot reach"):
        client.list(CONFIG_MAPS)

    assert (1, "ADDED") == found


def test_sync_client_without_a_server(free_port: Callable[[], int]) -> None:
    """An API server that is not there is 503, in a sentence."""
    port = free_port()
    with pytest.raises(ApiError, match=f"cannot reach the API server at http://127.0.0.1:{port}"):
        SyncClient(f"http://127.0.0.1:{port}", None, "x").list(NODES)


async def test_extra_routes(api: Api) -> None:
    """The daemon's own endpoints are authenticated, and their errors are Statuses."""

    async def hello(request: web.Request) -> web.Response:
        if "fail" in request.query:
            raise ApiError(400, "BadRequest", "as asked")
        return web.json_response({"hello": "world"})

    async with served(api, extra_routes=[web.get("/netlab/hello", hello)]) as url, aiohttp.ClientSession(url) as session:
        codes = []
        for path, headers in (("/netlab/hello", {}), ("/netlab/hello", ADMIN), ("/netlab/hello?fail", ADMIN)):
            async with session.get(path, headers=headers) as response:
                codes.append(response.status)

    assert [401, 200, 400] == codes


async def test_closing_ends_watches(api: Api) -> None:
    """Closing the server ends the watches instead of waiting for them."""
    async with aiohttp.ClientSession(headers=ADMIN) as session:
        async with asyncio.timeout(10), served(api) as url:  # aiohttp's own patience is a minute
            response = await session.get(url + CONFIGS + "?watch=1&resourceVersion=1")
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("get", "--raw", "/api/v1/namespaces/default/services"), '"kind":"ServiceList"'),
        (("get", "svc"), "blue"),
        (("get", "svc", "blue", "-o", "jsonpath={.spec.type}"), "NodePort"),
        (("patch", "svc", "blue", "--type=merge", "-p", '{"metadata":{"labels":{"a":"b"}}}'), "service/blue patched"),
        (("get", "svc", "none"), 'services "none" not found'),
        (("delete", "svc", "blue"), 'service "blue" deleted'),
        (("api-resources",), "endpointslices"),
    ],
)
async def test_kubectl(
    api: Api, tmp_path: Path, cannot_run: Callable[[str], NoReturn], arguments: tuple[str, ...], expected: str
) -> None:
    """Kubectl works with the lab's kubeconfig."""
    if shutil.which("kubectl") is None:
        cannot_run("kubectl is not installed")
    await LocalClient(api).create(SERVICES, {"metadata": {"name": "blue"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    pki = ensure_pki(tmp_path / "pki", ["127.0.0.1"])
    async with served(api, pki.server_context()) as url:
        path = tmp_path / "kubeconfig"
        write_kubeconfig(path, kubeconfig("quickstart", url, pki.ca_file.read_bytes(), "admin-token"))
        process = await asyncio.create_subprocess_exec(
            "kubectl", "--kubeconfig", str(path), *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
        async with asyncio.timeout(30):
            output, _ = await process.communicate()

    assert expected in output.decode()
    assert 0o600 == path.stat().st_mode & 0o777


async def test_secrets_stay_closed_to_nodes(url: str) -> None:
    """A node's token opens no Secret."""
    async with HttpClient(url, None, "node1-token") as node:
        with pytest.raises(ApiError, match='User "node:node1" cannot list resource "secrets"'):
            await node.list(SECRETS)


@pytest.mark.parametrize(
    ("begins", "expected"),
    [(False, (500, "Internal error occurred: internal error: RuntimeError: broken")), (True, "broken off")],
)
async def test_a_handler_that_fails(api: Api, begins: bool, expected: Any) -> None:
    """An unexpected exception is a Status; once the answer has begun, the connection ends instead."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if begins:
            await response.prepare(request)
            await response.write(b"half")
        raise RuntimeError("broken")

    async with served(api, extra_routes=[web.get("/x", handler)]) as address, aiohttp.ClientSession(headers=ADMIN) as session:
        try:
            async with session.get(f"{address}/x") as response:
                found: Any = (response.status, json.loads(await response.read())["message"])
        except aiohttp.ClientError:
            found = "broken off"

    assert expected == found
