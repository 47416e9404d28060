"""Objects with hostile values, pushed through all controllers: nothing raises, the good objects beside them are served.

Each case takes the objects of a small lab, changes a few values of them to hostile ones (seeded, so a run can be repeated),
stores them as no rule would let them pass, and lets the manager settle. Afterwards a Deployment that nothing is wrong with has
its pods placed and its Service has its endpoints. `make test` runs a few; NETLAB_FUZZ_CASES=2000 runs that many.
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from test_controllers_manager import Cluster

from netlab.api.resources import (
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    LABS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICES,
)
from netlab.controlplane.api import Api

CASES = int(os.environ.get("NETLAB_FUZZ_CASES", "40"))
PER_TEST = 20
MUTABLE = (
    NAMESPACES, NODES, PODS, SERVICES, ENDPOINTS, ENDPOINT_SLICES, CONFIG_MAPS, SECRETS, DEPLOYMENTS, REPLICA_SETS, DAEMON_SETS,
    LEASES, LABS,
)  # fmt: skip
KEPT = ("name", "namespace", "resourceVersion", "uid")  # what the store itself keeps right
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 10**30, 1.5, "", " ", "\n", "\0", "\u0663", "\u00b2", "9" * 5000, "x" * 300, "..",
    "../../etc/passwd", "1.2.3.4; flush ruleset", "256.256.256.256", "::1", "255.255.255.255", "a\nb", "%s", "{}",
    [], {}, ["x"], {"a": 1}, [[]], [None], {"name": {"a": 1}}, "True", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00Z",
)  # fmt: skip
ANNOTATIONS = (
    "deployment.kubernetes.io/revision", "controller.kubernetes.io/pod-deletion-cost", "endpoints.kubernetes.io/over-capacity",
    "netlab/synced", "netlab/load-balancers", "control-plane.alpha.kubernetes.io/leader",
)  # fmt: skip


def places(body: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of an object, but for what the store keeps right."""
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in items:
        here = (*path, key)
        if not (path == ("metadata",) and key in KEPT) and here != ("metadata",):
            yield here
        yield from places(value, here)


def mutated(body: dict[str, Any], random_: random.Random) -> dict[str, Any]:
    """Return an object with one to three of its values, or an annotation, replaced by hostile ones."""
    changed = copy.deepcopy(body)
    for _ in range(random_.randint(1, 3)):
        value = random_.choice(HOSTILE)
        if random_.random() < 0.2:
            changed["metadata"].setdefault("annotations", {})
            if isinstance(changed["metadata"]["annotations"], dict):
                changed["metadata"]["annotations"][random_.choice(ANNOTATIONS)] = value
            continue
        *way, last = random_.choice(sorted(places(changed), key=str))
        parent = changed
        for step in way:
            parent = parent[step]
        parent[last] = value
    return changed


async def stored(cluster: Cluster, random_: random.Random) -> list[str]:
    """Store the mutants of some objects of the lab over these; returns their keys."""
    objects = [(r, s) for r in MUTABLE for s in cluster.store.list(r) if "good" not in s.key[1] and s.key[1] != "default"]
    chosen = random_.sample(objects, k=random_.randint(1, 3))
    for resource, found in chosen:
        cluster.store.put(resource, mutated(found.copy(), random_))
    return [f"{resource.plural}/{'/'.join(found.key)}" for resource, found in chosen]


async def settle(cluster: Cluster) -> None:
    """Wait until the manager has nothing left to do; a mutant may keep it from ever being so, which is no failure."""
    try:
        async with asyncio.timeout(2):
            await cluster.manager.wait_idle(cluster.store.version)
    except TimeoutError:
        pass


async def deploy_good(cluster: Cluster, number: int) -> None:
    name = f"good{number}"
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    await cluster.client.create(DEPLOYMENTS, {"metadata": {"name": name}, "spec": spec})
    await cluster.client.create(SERVICES, {"metadata": {"name": name}, "spec": {"selector": labels, "ports": [{"port": 80}]}})


async def is_good(cluster: Cluster, number: int) -> bool:
    """Tell whether the good Deployment's pod has a node, and its Service's slice the pod once that has an address."""
    pods = [s for s in cluster.store.list(PODS) if s.key[1].startswith(f"good{number}-")]
    if len(pods) != 1 or not pods[0].body["spec"].get("nodeName"):
        return False
    if not pods[0].body["status"].get("podIP"):
        status = {"phase": "Running", "podIP": "10.244.9.9", "conditions": [{"type": "Ready", "status": "True"}]}
        await cluster.client.patch(PODS, pods[0].key[1], {"status": status}, namespace="default", subresource="status")
        await settle(cluster)
    slices = [s.body for s in cluster.store.list(ENDPOINT_SLICES) if s.key[1].startswith(f"good{number}-")]
    return [e["addresses"] for s in slices for e in s.get("endpoints", ())] == [["10.244.9.9"]]


async def world() -> Cluster:
    """Return a lab that runs: nodes, a Deployment, a DaemonSet, Services, hand-made Endpoints."""
    cluster = Cluster()
    cluster.running = asyncio.create_task(cluster.manager.run())  # type: ignore[attr-defined]
    await cluster.boot()
    await cluster.deploy(2)
    labels = {"app": "agent"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    await cluster.client.create(DAEMON_SETS, {"metadata": {"name": "agent"}, "spec": spec})
    subsets = [{"addresses": [{"ip": "172.30.1.1"}], "ports": [{"port": 80}]}]
    await cluster.client.create(ENDPOINTS, {"metadata": {"name": "db"}, "subsets": subsets})
    await cluster.client.create(SERVICES, {"metadata": {"name": "db"}, "spec": {"ports": [{"port": 80}]}})
    await cluster.idle()
    await cluster.run_pods()
    return cluster


@pytest.mark.parametrize("first", range(0, CASES, PER_TEST))
async def test_hostile_objects_stop_no_good_one(first: int) -> None:
    """Whatever values stored objects have, the manager runs and a good Deployment beside them is placed and served."""
    for case in range(first, min(first + PER_TEST, CASES)):
        cluster = await world()
        running = cluster.running  # type: ignore[attr-defined]
        keys = await stored(cluster, random.Random(case))
        Api(cluster.store)  # a server that starts over these objects does start
        await settle(cluster)
        await deploy_good(cluster, case)
        await settle(cluster)
        good = await is_good(cluster, case)
        problems = cluster.manager.problems
        alive = not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        cluster.store.close()

        assert alive, (case, keys)
        assert good or any(key.startswith("labs/") for key in keys), (case, keys, problems)  # the Lab concerns all
