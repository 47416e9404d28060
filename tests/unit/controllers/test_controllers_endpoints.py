"""Endpoints, EndpointSlices and mirroring (semantics 4.7, 4.8, 4.13, 4.19 and section 5)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from controllers_objects import NOW, endpoints, node, pod, service, settle, words, written

from netlab.api.discovery import EndpointSlice
from netlab.api.meta import Condition, Object, ObjectReference
from netlab.api.pods import Pod
from netlab.api.services import Endpoints, Service
from netlab.controlplane.controllers import endpoint_slices, endpoints_mirroring
from netlab.controlplane.controllers import endpoints as endpoints_controller
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Create, Delete, Update, Write

BLUE = {"app": "blue"}
Reconcile = Any


def blue(name: str = "a", ip: str = "10.244.1.2", **more: Any) -> Pod:
    return pod(name, ip=ip, **{"node": "node1", "labels": BLUE, **more})


def many(count: int, **more: Any) -> list[Pod]:
    return [blue(f"p{n:04}", f"10.244.{n // 200 + 1}.{n % 200 + 2}", **more) for n in range(count)]


def step(reconcile: Reconcile, objects: list[Object]) -> tuple[list[Object], list[Write]]:
    """Return the objects after one round of a controller, and its writes."""
    writes: list[Write] = reconcile(World.of(objects), NOW)
    found = {(type(o).__name__, o.key): o for o in objects}
    for write in writes:
        if isinstance(write, Delete):
            del found[write.resource.kind, f"{write.namespace}/{write.name}"]
        elif isinstance(write, Create | Update):
            metadata = msgspec.structs.replace(write.object.metadata, uid=f"uid-{write.object.metadata.name}")
            found[write.resource.kind, write.object.key] = msgspec.structs.replace(write.object, metadata=metadata)
    return list(found.values()), writes


def slices(objects: list[Object]) -> list[EndpointSlice]:
    found, _ = step(endpoint_slices.reconcile, objects)
    return [o for o in found if isinstance(o, EndpointSlice)]


def sizes(objects: list[Object]) -> list[int]:
    return [len(o.endpoints) for o in objects if isinstance(o, EndpointSlice)]


# ---- which pods, and their conditions
@pytest.mark.parametrize(
    ("some", "spec", "expected"),
    [
        (blue(), {}, (True, True, False)),
        (blue(ready=False), {}, (False, False, False)),
        (blue(deleted=True), {}, (False, True, True)),
        (blue(deleted=True, ready=False), {}, (False, False, True)),
        (blue(ready=False), {"publishNotReadyAddresses": True}, (True, False, False)),
        (blue(deleted=True), {"publishNotReadyAddresses": True}, (True, True, True)),
        (blue(ip=""), {}, None),
        (blue(phase="Succeeded"), {}, None),
        (blue(phase="Failed"), {}, None),
        (blue(labels={"app": "red"}), {}, None),
        (blue(namespace="other"), {}, None),
    ],
)
def test_slice_conditions(some: Pod, spec: dict[str, Any], expected: tuple[bool, bool, bool] | None) -> None:
    """Semantics 5.1, 5.2, 4.19: who is listed, and as ready, serving, terminating."""
    found = [e for piece in slices([service("web", **spec), some]) for e in piece.endpoints]
    actual = [(e.conditions.ready, e.conditions.serving, e.conditions.terminating) for e in found]

    assert ([expected] if expected else []) == actual


@pytest.mark.parametrize(
    ("word", "expected"), [("True", (True, True)), ("False", (False, False)), ("Unknown", (False, False)), (None, (True, True))]
)
def test_pods_of_a_node_that_is_not_ready(word: str | None, expected: tuple[bool, bool]) -> None:
    """A pod may run on a node that others have no route to yet: until the node is ready, the pod is not."""
    some = blue(node="node1")
    place = node("node1", "172.30.1.1")
    if word is not None:
        conditions = (Condition(type="Ready", status=word),)
        place = msgspec.structs.replace(place, status=msgspec.structs.replace(place.status, conditions=conditions))

    (found,) = [e for piece in slices([service("web"), some, place]) for e in piece.endpoints]

    assert expected == (found.conditions.ready, found.conditions.serving)


@pytest.mark.parametrize(
    ("some", "spec", "expected"),
    [
        (blue(), {}, (1, 0)),
        (blue(ready=False), {}, (0, 1)),
        (blue(deleted=True), {}, (0, 0)),
        (blue(ready=False), {"publishNotReadyAddresses": True}, (1, 0)),
        (blue(deleted=True), {"publishNotReadyAddresses": True}, (1, 0)),
        (blue(phase="Failed"), {}, (0, 0)),
    ],
)
def test_endpoints_ready_and_not(some: Pod, spec: dict[str, Any], expected: tuple[int, int]) -> None:
    """Semantics 5.4: those not ready stand apart; those on their way out are gone."""
    made = written(settle(endpoints_controller.reconcile, [service("web", **spec), some])[0])
    actual = (sum(len(s.addresses) for s in made.subsets), sum(len(s.not_ready_addresses) for s in made.subsets))

    assert expected == actual


def named(number: int, name: str = "http", protocol: str = "TCP") -> list[dict[str, Any]]:
    return [{"containerPort": number, "name": name, "protocol": protocol}]


@pytest.mark.parametrize(
    ("ports", "pods", "expected"),
    [
        ([{"port": 80}], [blue()], {(("", 80, "TCP"),): 1}),
        ([{"port": 80, "targetPort": 8080}], [blue()], {(("", 8080, "TCP"),): 1}),
        ([{"port": 80, "targetPort": 0}], [blue()], {(("", 80, "TCP"),): 1}),  # as if there were none
        (
            [{"port": 80, "targetPort": "http"}],
            [blue("a", ports=named(8080)), blue("b", "10.244.1.3", ports=named(9090))],
            {(("", 8080, "TCP"),): 1, (("", 9090, "TCP"),): 1},
        ),
        ([{"port": 80, "targetPort": "http"}], [blue(ports=named(8080, protocol="UDP"))], {(): 1}),  # wrong protocol: lacks it
        (
            [{"port": 80, "name": "a", "targetPort": "http"}, {"port": 81, "name": "b"}],
            [blue(ports=named(8080)), blue("b", "10.244.1.3")],
            {(("a", 8080, "TCP"), ("b", 81, "TCP")): 1, (("b", 81, "TCP"),): 1},
        ),
        (
            [{"port": 53, "name": "u", "protocol": "UDP"}, {"port": 53, "name": "t"}],
            [blue()],
            {(("u", 53, "UDP"), ("t", 53, "TCP")): 1},
        ),
        ([], [blue()], {(): 1}),  # headless without ports
    ],
)
def test_slice_ports(ports: list[Any], pods: list[Pod], expected: dict[Any, int]) -> None:
    """Semantics 4.7, 4.8, 5.8: named ports are resolved per pod; slices hold equal port sets."""
    found = slices([service("web", ports=ports, clusterIP="None"), *pods])
    actual = {tuple((p.name, p.port, p.protocol) for p in piece.ports): len(piece.endpoints) for piece in found}

    assert expected == actual


@pytest.mark.parametrize(
    ("ports", "some", "expected"),
    [
        ([{"port": 80}], blue(), [("", 80)]),
        ([{"port": 80, "targetPort": "http"}], blue(), []),  # lacks the port: no endpoint
        ([], blue(), [None]),
    ],
)
def test_endpoints_ports(ports: list[Any], some: Pod, expected: list[Any]) -> None:
    """An Endpoints subset has the ports of its pods; a headless Service may have none."""
    made = written(settle(endpoints_controller.reconcile, [service("web", ports=ports, clusterIP="None"), some])[0])
    actual = [(s.ports[0].name, s.ports[0].port) if s.ports else None for s in made.subsets]

    assert expected == actual


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"hostname": "db-0", "subdomain": "web"}, "db-0"),
        ({"hostname": "db-0", "subdomain": "other"}, ""),
        ({"hostname": "db-0"}, ""),
        ({"subdomain": "web"}, ""),
    ],
)
def test_hostname(spec: dict[str, str], expected: str) -> None:
    """Semantics 5.11: a hostname only if the pod asked for it in this very Service."""
    objects: list[Object] = [service("web"), blue(**spec)]
    (piece,) = slices(objects)
    made = written(settle(endpoints_controller.reconcile, objects)[0])

    assert [expected] == [e.hostname for e in piece.endpoints]
    assert [expected] == [a.hostname for s in made.subsets for a in s.addresses]


def test_slice_looks_like_kubernetes() -> None:
    """Semantics 5.9, 5.11: labels, owner, name prefix, node, zone, target."""
    zone = node("node1", labels={"topology.kubernetes.io/zone": "a"})
    (piece,) = slices([service("web", labels={"team": "x"}, clusterIP="None"), zone, blue()])
    (endpoint,) = piece.endpoints
    expected = {
        "team": "x",
        "service.kubernetes.io/headless": "",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }

    assert expected == piece.metadata.labels
    assert piece.metadata.name.startswith("web-")
    assert ("Service", "uid-web", True) == tuple(
        getattr(piece.metadata.owner_references[0], n) for n in ("kind", "uid", "controller")
    )
    assert ("node1", "a") == (endpoint.node_name, endpoint.zone)
    assert ObjectReference(kind="Pod", namespace="default", name="a", uid="uid-a") == endpoint.target_ref


# ---- which Services
def going(some: Service) -> Service:
    return msgspec.structs.replace(some, metadata=msgspec.structs.replace(some.metadata, deletion_timestamp=NOW))


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (service("web"), 1),
        (service("web", selector={}), 0),
        (service("web", type="ExternalName", externalName="x.example"), 0),
        (service("web", selector={"app": "none"}), 1),  # an empty slice, as in Kubernetes
        (going(service("web")), 0),
    ],
)
def test_services_with_slices(some: Service, expected: int) -> None:
    """Only a Service with a selector has slices made for it; without pods an empty one."""
    actual = len(slices([some, blue()]))

    assert expected == actual


def recreated(name: str) -> Service:
    fresh = service(name)
    return msgspec.structs.replace(fresh, metadata=msgspec.structs.replace(fresh.metadata, uid="uid-newer"))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ([], ["delete"]),
        ([service("web", type="ExternalName")], ["delete"]),
        ([recreated("web")], ["delete", "create"]),  # the slices of its namesake are not taken over
        ([service("web", selector={})], []),  # as in Kubernetes, they stay and are the user's
        ([service("web")], []),
    ],
)
def test_leftover_slices(now: list[Object], expected: list[str]) -> None:
    """Semantics 5.14: slices go with their Service."""
    before, _ = step(endpoint_slices.reconcile, [service("web"), blue()])
    rest = [o for o in before if not isinstance(o, Service)]
    actual = [word.split()[0] for word in words(settle(endpoint_slices.reconcile, [*rest, *now]))]

    assert expected == actual


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ([], ["delete endpoints/default/web"]),
        ([service("web", type="ExternalName")], ["delete endpoints/default/web"]),
        ([service("web", selector={})], []),
        ([service("web")], []),
    ],
)
def test_leftover_endpoints(now: list[Object], expected: list[str]) -> None:
    """Semantics 5.14: the Endpoints made for a Service go with it."""
    before, _ = step(endpoints_controller.reconcile, [service("web"), blue()])
    rest = [o for o in before if not isinstance(o, Service)]
    actual = words(settle(endpoints_controller.reconcile, [*rest, *now]))

    assert expected == actual


def test_hand_made_endpoints_without_service_stay() -> None:
    """Endpoints that a user made before the Service are not ours to delete."""
    actual = settle(endpoints_controller.reconcile, [endpoints("web", [])])

    assert actual == []


# ---- packing
@pytest.mark.parametrize(
    ("before", "after", "written_slices", "expected"),
    [
        (0, 101, 2, [1, 100]),  # 5.6: the 101st endpoint begins a second slice; the empty one is re-used
        (100, 101, 1, [1, 100]),
        (90, 95, 1, [95]),  # just one slice has room
        (90, 195, 2, [95, 100]),  # more than a slice: a full new one, and the rest where it fits
        (150, 160, 1, [60, 100]),
        (150, 250, 1, [50, 100, 100]),  # prefer one new slice
        (250, 100, 2, [100]),
        (0, 0, 0, [0]),
        (3, 0, 1, [0]),
    ],
)
def test_slice_packing(before: int, after: int, written_slices: int, expected: list[int]) -> None:
    """Semantics 5.6: at most 100 in a slice, few writes, no rebalancing."""
    objects, _ = step(endpoint_slices.reconcile, [service("web"), *many(before)])
    kept: list[Object] = [o for o in objects if not isinstance(o, Pod)]
    objects, writes = step(endpoint_slices.reconcile, [*kept, *many(after)])

    assert expected == sorted(sizes(objects))
    assert written_slices == len(writes)


def test_slice_changes_in_place() -> None:
    """One pod's readiness rewrites its slice only; then there is nothing left to do."""
    objects, _ = step(endpoint_slices.reconcile, [service("web"), *many(150)])
    changed = [blue("p0120", "10.244.1.122", ready=False) if o.key == "default/p0120" else o for o in objects]
    objects, writes = step(endpoint_slices.reconcile, changed)
    _, again = step(endpoint_slices.reconcile, objects)

    assert ["update"] == [word.split()[0] for word in words(writes)]
    assert sorted(sizes(objects)) == [50, 100]
    assert again == []


def test_slice_fills_what_is_written_anyway() -> None:
    """Semantics 5.6: a slice that loses an endpoint takes the new one."""
    objects, _ = step(endpoint_slices.reconcile, [service("web"), *many(200)])
    kept = [o for o in objects if o.key != "default/p0000"]
    objects, writes = step(endpoint_slices.reconcile, [*kept, blue("new", "10.244.9.9")])

    assert ["update"] == [word.split()[0] for word in words(writes)]
    assert sorted(sizes(objects)) == [100, 100]


def test_slice_fills_the_fullest_first() -> None:
    """Of slices that are written anyway the fullest is filled up, so that the others may become empty one day."""
    objects, _ = step(endpoint_slices.reconcile, [service("web"), *many(200)])
    gone = {f"default/p{number:04}" for number in (*range(10), 150)}
    kept = [o for o in objects if o.key not in gone]
    objects, _ = step(endpoint_slices.reconcile, [*kept, blue("new", "10.244.9.9")])

    assert sorted(sizes(objects)) == [90, 100]


def test_endpoints_truncated() -> None:
    """Semantics 5.13: at most 1000 addresses, the ready ones first, and an annotation that says so."""
    objects: list[Object] = [service("web"), *many(990), *[blue(f"x{n}", f"10.9.0.{n}", ready=False) for n in range(20)]]
    made = written(settle(endpoints_controller.reconcile, objects)[0])

    assert {"endpoints.kubernetes.io/over-capacity": "truncated"} == made.metadata.annotations
    assert [(990, 10)] == [(len(s.addresses), len(s.not_ready_addresses)) for s in made.subsets]


@pytest.mark.parametrize("reconcile", [endpoint_slices.reconcile, endpoints_controller.reconcile])
def test_second_round_changes_nothing(reconcile: Reconcile) -> None:
    """Every controller is level-triggered: run twice, it writes once."""
    objects, first = step(reconcile, [service("web", labels={"a": "b"}), node("node1"), *many(3)])
    _, second = step(reconcile, objects)

    assert len(first) == 1
    assert second == []


# ---- mirroring
SUBSET = {
    "addresses": [{"ip": "10.0.0.1", "nodeName": "node1"}],
    "notReadyAddresses": [{"ip": "10.0.0.2"}],
    "ports": [{"port": 80}],
}
BY_HAND = service("web", selector={})


def labelled(obj: Endpoints, name: str) -> Endpoints:
    metadata = msgspec.structs.replace(obj.metadata, labels={name: "true"})
    return msgspec.structs.replace(obj, metadata=metadata)


@pytest.mark.parametrize(
    ("obj", "services", "expected"),
    [
        (endpoints("web", [SUBSET]), [BY_HAND], 1),
        (endpoints("web", [SUBSET]), [], 0),
        (endpoints("web", [SUBSET]), [service("web")], 0),
        (labelled(endpoints("web", [SUBSET]), "endpointslice.kubernetes.io/skip-mirror"), [BY_HAND], 0),
        (endpoints("web", [SUBSET], annotations={"control-plane.alpha.kubernetes.io/leader": "{}"}), [BY_HAND], 0),
        (endpoints("web", []), [BY_HAND], 0),
    ],
)
def test_mirroring_when(obj: Endpoints, services: list[Service], expected: int) -> None:
    """Semantics 5.12: only hand-made Endpoints of a Service without selector, unless they say no."""
    objects, _ = step(endpoints_mirroring.reconcile, [obj, *services])

    assert expected == len(sizes(objects))


def test_mirror_says_what_the_endpoints_say() -> None:
    """A mirror has the addresses, readiness and ports of its Endpoints, which own it."""
    objects, _ = step(endpoints_mirroring.reconcile, [endpoints("web", [SUBSET, SUBSET]), BY_HAND])
    (mirror,) = [o for o in objects if isinstance(o, EndpointSlice)]
    actual = [(e.addresses[0], e.conditions.ready, e.node_name) for e in mirror.endpoints]

    assert [("10.0.0.1", True, "node1"), ("10.0.0.2", False, "")] == actual
    assert "endpointslicemirroring-controller.k8s.io" == mirror.metadata.labels["endpointslice.kubernetes.io/managed-by"]
    assert mirror.service_key == "default/web"
    assert [("", 80, "TCP")] == [(p.name, p.port, p.protocol) for p in mirror.ports]
    assert mirror.metadata.owner_references[0].kind == "Endpoints"


def test_mirror_does_not_pass_for_an_object_of_the_file() -> None:
    """What `up` notes about an object of the file is not copied: the next `up` would prune the mirror."""
    notes = {"netlab/applied": "true", "kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"}
    objects, _ = step(endpoints_mirroring.reconcile, [endpoints("web", [SUBSET], annotations=notes), BY_HAND])
    (mirror,) = [o for o in objects if isinstance(o, EndpointSlice)]

    assert {"mine": "1"} == {key: mirror.metadata.annotations[key] for key in notes if key in mirror.metadata.annotations}


def test_mirror_is_cut_at_1000() -> None:
    """Semantics 5.12: at most 1000 addresses of a subset are mirrored, in one slice."""
    subset = {"addresses": [{"ip": f"10.1.{n // 250}.{n % 250}"} for n in range(1200)], "ports": [{"port": 80}]}
    objects, _ = step(endpoints_mirroring.reconcile, [endpoints("web", [subset]), BY_HAND])

    assert sizes(objects) == [1000]


def test_mirror_goes_with_its_endpoints() -> None:
    """Endpoints that are deleted, or get label skip-mirror, lose their mirrors."""
    objects, _ = step(endpoints_mirroring.reconcile, [endpoints("web", [SUBSET]), BY_HAND])
    rest = [o for o in objects if not isinstance(o, Endpoints)]
    actual, _ = step(endpoints_mirroring.reconcile, rest)

    assert sizes(actual) == []


def test_hand_made_endpoints_get_their_service_as_owner() -> None:
    """Semantics 5.14: so they are deleted with it."""
    actual = words(settle(endpoints_mirroring.reconcile, [endpoints("web", []), BY_HAND]))

    assert len(actual) == 1
    assert "uid-web" in actual[0]
    assert actual[0].startswith("patch endpoints/default/web")
