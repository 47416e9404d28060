"""One bad object stops no other (findings B2): each is planned alone, named, told, tried again and forgotten when repaired."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from controllers_objects import NOW, daemon_set, deployment, endpoints, lab, node, pod, replica_set, service, words
from test_controllers_manager import Cluster

from netlab.api.resources import BY_TYPE, CONFIG_MAPS, DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS, SERVICES
from netlab.controlplane.api import Api
from netlab.controlplane.controllers import endpoint_slices, pod_garbage, scheduler
from netlab.controlplane.controllers import endpoints as endpoints_controller
from netlab.controlplane.controllers.per_object import Failed, collect, each, grouped
from netlab.controlplane.controllers.table import CONTROLLERS, Controller
from netlab.controlplane.controllers.world import FIELDS, World
from netlab.controlplane.controllers.writes import create, event
from netlab.controlplane.patches import merge
from netlab.errors import LabError

HUGE = "9" * 5000
BAD = "bad"


def poisoned(obj: Any) -> Any:
    """Return an object whose labels and specification raise when a plan uses them."""

    class Poison:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"poisoned {name}")

    return msgspec.structs.replace(obj, spec=Poison()) if hasattr(obj, "spec") else msgspec.structs.replace(obj, subsets=Poison())


def test_each_keeps_the_steps_of_the_others_and_none_of_the_failed() -> None:
    """The steps of an object that raises half-way are left out; those before and after it are there."""
    pods = [pod("a"), pod(BAD), pod("c")]

    def plan(obj: Any) -> Any:
        yield create(obj)
        if obj.metadata.name == BAD:
            raise LabError("no")

    steps = each(pods, plan)

    assert words([s for s in steps if not isinstance(s, Failed)]) == ["create pods/default/a", "create pods/default/c"]
    assert [str(s) for s in steps if isinstance(s, Failed)] == ["failed pods/default/bad: no"]


def test_grouped_and_collect_leave_out_what_raises() -> None:
    """An index has all objects but the one that cannot be indexed, which is named."""
    failures: list[Failed] = []
    pods = {obj.key: obj for obj in (pod("a", labels={"x": "1"}), pod(BAD), pod("c", labels={"x": "1"}))}
    found = grouped(pods, lambda obj: [obj.metadata.labels["x"]], failures)
    made, failed = collect(pods.values(), lambda obj: obj.metadata.labels["x"])

    assert [obj.metadata.name for obj in found["1"]] == ["a", "c"]
    assert made == ["1", "1"]
    assert [f.key for f in failures] == [f.key for f in failed] == ["pods/default/bad"]


ROWS = {row.name: row for row in CONTROLLERS}
WHOLE = lab(("node1",), loadBalancer={"pool": "198.51.100.0/28"})
TARGET = (WHOLE, node("node1", "172.30.1.1"))


@pytest.mark.parametrize(
    ("controller", "bad", "good", "expected"),
    [
        ("deployment", deployment(BAD, replicas=1), deployment("good", replicas=1), "create replicasets/default/good"),
        ("replica-set", replica_set(BAD, replicas=1), replica_set("good", replicas=1), "create pods/default/good"),
        ("daemon-set", daemon_set(BAD), daemon_set("good"), "create pods/default/good"),
        ("endpoints", service(BAD), service("good"), "create endpoints/default/good"),
        ("endpoint-slices", service(BAD), service("good"), "create endpointslices/default/good"),
        ("endpoints-mirroring", endpoints(BAD, []), endpoints("good", [{"addresses": [{"ip": "1.2.3.4"}]}]), "patch endpoints/"),
        ("load-balancer", service(BAD), service("good", type="LoadBalancer"), "update services/default/good/status"),
        ("node-ipam", node(BAD, "172.30.1.9"), node("good", "172.30.1.2"), "patch nodes/good"),
        ("scheduler", pod(BAD), pod("good"), "patch pods/default/good"),
        ("pod-garbage", pod(BAD, node="gone"), pod("good", node="gone"), "delete pods/default/good"),
    ],
)
def test_a_controller_plans_for_the_others(controller: str, bad: Any, good: Any, expected: str) -> None:
    """Every controller has its writes for the good object, and the bad one as a failure or as an error of its own."""
    more = [service(name, selector={}) for name in ("bad", "good")] if controller == "endpoints-mirroring" else []
    snapshot = World.of([*TARGET, good, *more, bad])
    field = next(name for name, resource in FIELDS.items() if resource is BY_TYPE[type(bad)])
    getattr(snapshot, field)[bad.key] = poisoned(bad)
    steps = [*ROWS[controller].reconcile(snapshot, NOW)]

    assert any(word.startswith(expected) for word in words([s for s in steps if not isinstance(s, Failed)])), steps
    assert [s.object.metadata.name for s in steps if isinstance(s, Failed)] in ([BAD], [])


def test_the_scheduler_does_not_wait_for_what_fails_or_cannot_be_read() -> None:
    """A Deployment that fails, and a Node that does not decode, keep no pod from its node."""
    stuck = deployment("stuck", replicas=1)
    objects = [lab(("node1", "node2")), node("node1", "172.30.1.1"), stuck, pod("waits")]
    before = scheduler.reconcile(World.of(objects), NOW)
    after = dataclasses.replace(
        World.of(objects), failing=frozenset({"deployments/default/stuck"}), unreadable=frozenset({"nodes/node2"})
    )

    assert (words(before), words(scheduler.reconcile(after, NOW))) == (
        [],
        ["patch pods/default/waits {'spec': {'nodeName': 'node1'}}"],
    )


def test_what_belongs_to_an_unreadable_object_stays() -> None:
    """Slices, Endpoints and pods of a Service or Node that does not decode are not taken for leftovers."""
    made = [s.object for s in endpoint_slices.reconcile(World.of([service("web")]), NOW)]
    made += [s.object for s in endpoints_controller.reconcile(World.of([service("web")]), NOW)]
    lost = World.of([WHOLE, *made, pod("p", node="node9")])
    kept = dataclasses.replace(lost, unreadable=frozenset({"services/default/web", "nodes/node9"}))
    plans = [endpoint_slices.reconcile, endpoints_controller.reconcile, pod_garbage.reconcile]

    assert [len(plan(lost, NOW)) for plan in plans] == [1, 1, 1]
    assert [len(plan(kept, NOW)) for plan in plans] == [0, 0, 0]


def test_an_event_about_a_long_name_has_a_name_that_the_server_takes() -> None:
    """The name of an Event has at most 253 characters and ends in its digest."""
    names = [event(pod("p" * 235 + "-" + "q" * 17), NOW, reason="R", message="m", component="c").object.metadata.name]

    assert all(len(name) <= 253 for name in names)
    assert "-." not in names[0]


# ---- stored objects of an older release or another hand, that no rule has seen
async def until(what: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 -- the manager gives no event for what it has not done
            await asyncio.sleep(0.01)


@pytest.fixture
async def cluster() -> Any:
    made = Cluster()
    running = asyncio.create_task(made.manager.run())
    await made.boot()
    yield made
    assert not running.done(), running
    running.cancel()
    await asyncio.wait([running])
    made.store.close()


@pytest.mark.parametrize(
    ("resource", "change", "repair"),
    [
        pytest.param(
            REPLICA_SETS,
            {"metadata": {"annotations": {"deployment.kubernetes.io/revision": HUGE}}},
            {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}},
            id="a revision of 5000 digits",
        ),
        pytest.param(
            PODS,
            {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": HUGE}}},
            {"metadata": {"annotations": None}},
            id="a deletion cost of 5000 digits",
        ),
        pytest.param(PODS, {"spec": {"nodeName": {"a": 1}}}, {"spec": {"nodeName": "node1"}}, id="a Binding to a map"),
        pytest.param(PODS, {"spec": {"nodeName": 7}}, {"spec": {"nodeName": "node1"}}, id="a Binding to a number"),
        pytest.param(DEPLOYMENTS, {"spec": {"replicas": "three"}}, {"spec": {"replicas": 2}}, id="replicas that are a word"),
        pytest.param(SERVICES, {"spec": {"ports": 80}}, {"spec": {"ports": [{"port": 80}]}}, id="ports that are a number"),
    ],
)
async def test_the_others_progress_and_the_repaired_object_recovers(
    cluster: Cluster, resource: Any, change: dict[str, Any], repair: dict[str, Any]
) -> None:
    """With a bad object in the store a new Deployment comes up beside it; repaired, the object is as any other."""
    await cluster.deploy(2)
    await cluster.idle()
    await cluster.run_pods()
    bad = next(s for s in cluster.store.list(resource) if s.key[1].startswith("blue"))
    cluster.store.put(resource, merge(bad.copy(), change))
    await beside(cluster)
    stored = cluster.store.get(resource, *bad.key)
    assert stored is not None
    cluster.store.put(resource, merge(stored.copy(), repair))
    await cluster.idle()
    await cluster.client.patch(DEPLOYMENTS, "blue", {"spec": {"replicas": 1}}, namespace="default")
    await cluster.idle()
    await cluster.run_pods()

    assert cluster.manager.problems == ()
    assert await cluster.backends() == 1


async def beside(cluster: Cluster) -> None:
    """Deploy something else, and see its pods placed."""
    template = {"metadata": {"labels": {"app": "red"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "red"}}, "template": template}
    await cluster.client.create(DEPLOYMENTS, {"metadata": {"name": "red", "namespace": "default"}, "spec": spec})
    await cluster.idle()
    placed = [p["spec"].get("nodeName") for p in await cluster.items(PODS) if p["metadata"]["name"].startswith("red")]

    assert len(placed) == 2
    assert all(placed)


async def test_a_failed_object_is_told_once_retried_and_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    """One log line, one Event with the controller's word, a retry without any change, and nothing left after its success."""
    tried: list[str] = []
    broken = True

    def plan(snapshot: World, _now: str) -> Any:
        def one(obj: Any) -> Any:
            tried.append(obj.metadata.name)
            if broken:
                raise ValueError("9" * 10)
            return []

        return each(snapshot.config_maps.values(), one)

    cluster = Cluster((Controller.of("bad", "config_maps", plan, "FailedOnPurpose"), *CONTROLLERS))
    running = asyncio.create_task(cluster.manager.run())
    await cluster.boot()
    await cluster.client.create(CONFIG_MAPS, {"metadata": {"name": "one", "namespace": "default"}})
    await cluster.idle()
    once = len(tried)
    named = cluster.manager.problems
    await until(lambda: len(tried) > once)  # nothing changes: this is the back-off's retry
    events = [e for e in await cluster.items(EVENTS) if e["reason"] == "FailedOnPurpose"]
    lines = [r for r in caplog.records if "state=failed" in r.getMessage() and "configmaps/default/one" in r.getMessage()]
    broken = False
    await until(lambda: not cluster.manager.problems)
    running.cancel()
    await asyncio.wait([running])
    cluster.store.close()

    assert "configmaps/default/one: controller bad failed: internal error: ValueError: 9999999999" in named
    assert [(e["involvedObject"]["name"], e["type"]) for e in events if e["involvedObject"]["name"] == "one"] == [
        ("one", "Warning")
    ]
    assert len(lines) == 1


async def test_a_controller_that_fails_as_a_whole_stops_no_other() -> None:
    """A controller whose plan raises outside any object is named; the others do their work."""

    def plan(_world: World, _now: str) -> Any:
        raise KeyError("whole")

    cluster = Cluster((Controller.of("bad", "nodes", plan), *CONTROLLERS))
    running = asyncio.create_task(cluster.manager.run())
    await cluster.boot()
    await cluster.deploy(3)
    await cluster.idle()
    await cluster.run_pods()
    backends, problems = await cluster.backends(), cluster.manager.problems
    running.cancel()
    await asyncio.wait([running])
    cluster.store.close()

    assert backends == 3
    assert [p for p in problems if "controller bad failed: internal error: KeyError" in p]


async def test_a_write_that_breaks_is_refused_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in the API server on one object's write is that write's alone."""
    cluster = Cluster()
    put_ = Api.create

    def breaks(self: Api, user: str, target: Any, body: Any, *rest: Any) -> Any:
        if target.resource is PODS and body["metadata"]["name"].startswith("blue"):
            raise RecursionError("too deep")
        return put_(self, user, target, body, *rest)

    monkeypatch.setattr(Api, "create", breaks)
    running = asyncio.create_task(cluster.manager.run())
    await cluster.boot()
    await cluster.deploy(1)
    await beside(cluster)
    refused = cluster.manager.refused
    running.cancel()
    await asyncio.wait([running])
    cluster.store.close()

    assert [text for text in refused if "internal error: RecursionError: too deep" in text]
