from __future__ import annotations

import pytest

from netlab.api.resources import CONFIG_MAPS, NAMESPACES, PODS, REPLICA_SETS, SERVICES, Json
from netlab.controlplane.api import Api, DeleteOptions, Target
from netlab.controlplane.auth import ADMIN
from netlab.controlplane.local import LocalClient
from netlab.controlplane.store import Store
from netlab.errors import ApiError

SPEC = {"containers": [{"name": "c", "image": "jpetazzo/color"}]}


def pod(name: str = "p", *, node: str = "node1", **meta: object) -> Json:
    return {"metadata": {"name": name, **meta}, "spec": {**SPEC, "nodeName": node} if node else SPEC}


def config(name: str, *owners: Json, **meta: object) -> Json:
    references = [
        {"apiVersion": o["apiVersion"], "kind": o["kind"], "name": o["metadata"]["name"], "uid": o["metadata"]["uid"]}
        for o in owners
    ]
    return {"metadata": {"name": name, "ownerReferences": references, **meta}}


async def names(client: LocalClient, namespace: str = "default") -> list[str]:
    return [body["metadata"]["name"] for body in (await client.list(CONFIG_MAPS, namespace=namespace)).items]


@pytest.mark.parametrize(
    ("node", "asked", "expected"),
    [
        ("", None, None),
        ("node1", None, (30, "2026-11-20T12:00:30Z")),
        ("node1", 5, (5, "2026-11-20T12:00:05Z")),
        ("node1", 0, None),
    ],
)
async def test_graceful_pod_deletion(client: LocalClient, node: str, asked: int | None, expected: tuple[int, str] | None) -> None:
    """A pod on a node gets a deletion time and stays for its kubelet; any other goes at once."""
    await client.create(PODS, pod(node=node))
    await client.delete(PODS, "p", grace_period_seconds=asked)
    metas = [body["metadata"] for body in (await client.list(PODS)).items]
    found = (metas[0]["deletionGracePeriodSeconds"], metas[0]["deletionTimestamp"]) if metas else None

    assert expected == found


async def test_a_finished_pod_goes_at_once(client: LocalClient) -> None:
    """Nothing of a pod that succeeded or failed is left to be ended."""
    await client.create(PODS, pod())
    await client.patch(PODS, "p", {"status": {"phase": "Failed"}}, subresource="status")
    await client.delete(PODS, "p")

    assert () == (await client.list(PODS)).items


async def test_a_second_delete_shortens_only(client: LocalClient) -> None:
    """A shorter grace period wins; a longer or the same one changes nothing; 0 ends it."""
    await client.create(PODS, pod())
    found = []
    for grace in (None, 60, 5, None):
        await client.delete(PODS, "p", grace_period_seconds=grace)
        found.append((await client.get(PODS, "p"))["metadata"]["deletionGracePeriodSeconds"])
    await client.delete(PODS, "p", grace_period_seconds=0)

    assert [30, 30, 5, 5] == found
    assert () == (await client.list(PODS)).items


async def test_finalizers_are_waited_for(client: LocalClient) -> None:
    """An object with finalizers is marked, and goes when the last one is removed."""
    await client.create(CONFIG_MAPS, {"metadata": {"name": "c", "finalizers": ["example.com/a"]}})
    await client.delete(CONFIG_MAPS, "c")
    marked = (await client.get(CONFIG_MAPS, "c"))["metadata"]
    await client.patch(CONFIG_MAPS, "c", {"metadata": {"finalizers": None}})

    assert "2026-11-20T12:00:00Z" == marked["deletionTimestamp"]
    assert [] == await names(client)


async def test_dependents_follow(client: LocalClient) -> None:
    """Background: dependents of dependents go with their owner."""
    owner = await client.create(CONFIG_MAPS, {"metadata": {"name": "owner"}})
    child = await client.create(CONFIG_MAPS, config("child", owner))
    await client.create(CONFIG_MAPS, config("grandchild", child))
    await client.create(CONFIG_MAPS, config("stranger"))
    await client.delete(CONFIG_MAPS, "owner")

    assert ["stranger"] == await names(client)


async def test_dependents_of_two_owners_stay(client: LocalClient) -> None:
    """A dependent with another living owner loses the reference only."""
    first = await client.create(CONFIG_MAPS, {"metadata": {"name": "first"}})
    second = await client.create(CONFIG_MAPS, {"metadata": {"name": "second"}})
    await client.create(CONFIG_MAPS, config("child", first, second))
    await client.delete(CONFIG_MAPS, "first")
    left = (await client.get(CONFIG_MAPS, "child"))["metadata"]["ownerReferences"]
    await client.delete(CONFIG_MAPS, "second")

    assert ["second"] == [reference["name"] for reference in left]
    assert [] == await names(client)


async def test_orphans(client: LocalClient, api: Api) -> None:
    """Orphan: dependents stay, without their reference."""
    owner = await client.create(CONFIG_MAPS, {"metadata": {"name": "owner"}})
    await client.create(CONFIG_MAPS, config("child", owner))
    api.delete(ADMIN, Target(CONFIG_MAPS, "default", "owner"), DeleteOptions(propagation="Orphan"))

    assert "ownerReferences" not in (await client.get(CONFIG_MAPS, "child"))["metadata"]


async def test_foreground(client: LocalClient, api: Api) -> None:
    """Foreground: the owner waits until its dependents are gone, here a pod with a grace period."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": SPEC}
    body = {"metadata": {"name": "rs"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    owner = await client.create(REPLICA_SETS, body)
    references = config("x", owner)["metadata"]["ownerReferences"]
    await client.create(PODS, pod(ownerReferences=references))
    api.delete(ADMIN, Target(REPLICA_SETS, "default", "rs"), DeleteOptions(propagation="Foreground"))
    waiting = (await client.get(REPLICA_SETS, "rs"))["metadata"]
    await client.delete(PODS, "p", grace_period_seconds=0)

    assert ["foregroundDeletion"] == waiting["finalizers"]
    assert () == (await client.list(REPLICA_SETS)).items


async def test_a_dependent_of_a_dead_owner_goes(client: LocalClient) -> None:
    """An object made for an owner that has just gone does not stay behind; owners of unknown kinds are trusted."""
    owner = await client.create(CONFIG_MAPS, {"metadata": {"name": "owner"}})
    await client.delete(CONFIG_MAPS, "owner")
    await client.create(CONFIG_MAPS, config("late", owner))
    await client.create(CONFIG_MAPS, config("foreign", {**owner, "kind": "Widget"}))

    assert ["foreign"] == await names(client)


async def test_owners_survive_a_restart(client: LocalClient, store: Store, new_api) -> None:
    """A restarted server still knows who depends on whom."""
    owner = await client.create(CONFIG_MAPS, {"metadata": {"name": "owner"}})
    await client.create(CONFIG_MAPS, config("child", owner))
    again = LocalClient(new_api(store))
    await again.delete(CONFIG_MAPS, "owner")

    assert [] == await names(again)


# ---- namespaces
async def test_a_namespace_takes_its_content(client: LocalClient, api: Api) -> None:
    """Content goes first; a pod with a grace period keeps the namespace Terminating until it is gone."""
    await client.create(NAMESPACES, {"metadata": {"name": "team"}})
    await client.create(CONFIG_MAPS, {"metadata": {"name": "c"}}, namespace="team")
    await client.create(SERVICES, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}, namespace="team")
    await client.create(PODS, pod(), namespace="team")
    await client.delete(NAMESPACES, "team")
    phase = (await client.get(NAMESPACES, "team"))["status"]["phase"]
    with pytest.raises(ApiError, match="unable to create new content in namespace team because it is being terminated") as caught:
        await client.create(CONFIG_MAPS, {"metadata": {"name": "d"}}, namespace="team")
    await client.delete(PODS, "p", namespace="team", grace_period_seconds=0)
    with pytest.raises(ApiError, match='namespaces "team" not found'):
        await client.get(NAMESPACES, "team")

    assert ("Terminating", 403) == (phase, caught.value.code)
    assert {} == api._allocator.holdings.addresses


async def test_an_empty_namespace_goes_at_once(client: LocalClient) -> None:
    """Nothing to wait for."""
    await client.create(NAMESPACES, {"metadata": {"name": "team"}})
    await client.delete(NAMESPACES, "team")

    assert "team" not in [body["metadata"]["name"] for body in (await client.list(NAMESPACES)).items]


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public", "kube-node-lease"])
async def test_system_namespaces_stay(client: LocalClient, name: str) -> None:
    """The namespaces that every cluster has cannot be deleted."""
    with pytest.raises(ApiError, match=f'namespaces "{name}" is forbidden: this namespace may not be deleted'):
        await client.delete(NAMESPACES, name)


async def test_delete_collection(client: LocalClient, api: Api) -> None:
    """A whole collection goes, owners and dependents in any order."""
    owner = await client.create(CONFIG_MAPS, {"metadata": {"name": "z"}})
    await client.create(CONFIG_MAPS, config("a", owner))
    await client.create(CONFIG_MAPS, config("m", owner))
    from netlab.controlplane.lists import ListOptions

    answer = api.delete_collection(ADMIN, Target(CONFIG_MAPS, "default"), ListOptions())

    assert (3, []) == (len(answer.items), await names(client))
