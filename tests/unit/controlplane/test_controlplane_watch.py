from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from netlab.api.resources import CONFIG_MAPS, SECRETS
from netlab.controlplane.api import Api, Target
from netlab.controlplane.auth import ADMIN
from netlab.controlplane.local import LocalClient
from netlab.controlplane.store import Store, decode
from netlab.controlplane.watch import INITIAL_EVENTS_END, WatchOptions
from netlab.errors import ApiError


def config(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


async def read(batches: AsyncIterator[Any], count: int) -> list[tuple[str, str]]:
    """Return type and name of the next events."""
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(5):
        async for batch in batches:
            found += [(event.type, event.stored.body["metadata"].get("name", "")) for event in batch]
            if len(found) >= count:
                return found
    return found


async def test_changes_after_a_version(client: LocalClient, api: Api) -> None:
    """A watch yields the backlog first, then what happens."""
    await client.create(CONFIG_MAPS, config("a"))
    version = api.store.version
    await client.create(CONFIG_MAPS, config("b"))
    await client.create(SECRETS, {"metadata": {"name": "other-kind"}})
    batches = api.watch(ADMIN, Target(CONFIG_MAPS), WatchOptions(str(version)))
    first = await read(batches, 1)
    await client.patch(CONFIG_MAPS, "a", {"data": {"k": "v"}})
    await client.delete(CONFIG_MAPS, "b")

    assert [("ADDED", "b")] == first
    assert [("MODIFIED", "a"), ("DELETED", "b")] == await read(
        api.watch(ADMIN, Target(CONFIG_MAPS), WatchOptions(str(version + 2))), 2
    )


@pytest.mark.parametrize("version", ["", "0"])
async def test_a_watch_from_anywhere_begins_with_everything(client: LocalClient, api: Api, version: str) -> None:
    """Without a version what exists comes as ADDED."""
    await client.create(CONFIG_MAPS, config("a"))

    assert [("ADDED", "a")] == await read(api.watch(ADMIN, Target(CONFIG_MAPS), WatchOptions(version)), 1)


async def test_watch_list(client: LocalClient, api: Api) -> None:
    """sendInitialEvents: everything, then a bookmark that says so, then changes."""
    await client.create(CONFIG_MAPS, config("a"))
    batches = api.watch(ADMIN, Target(CONFIG_MAPS), WatchOptions(send_initial_events=True))
    async with asyncio.timeout(5):
        first = await anext(batches)
    await client.create(CONFIG_MAPS, config("b"))

    assert ["ADDED", "BOOKMARK"] == [event.type for event in first]
    assert {INITIAL_EVENTS_END: "true"} == first[1].stored.body["metadata"]["annotations"]
    assert str(api.store.version - 1) == first[1].stored.body["metadata"]["resourceVersion"]
    assert [("ADDED", "b")] == await read(batches, 1)


async def test_selector_transitions(client: LocalClient, api: Api) -> None:
    """What begins to match is ADDED, what no longer does is DELETED, with its last matching state."""
    version = str(api.store.version)
    await client.create(CONFIG_MAPS, config("a", tier="db"))
    for tier in ("web", "web", "db", "db", "web"):
        await client.patch(CONFIG_MAPS, "a", {"metadata": {"labels": {"tier": tier, "n": tier}}})
    await client.patch(CONFIG_MAPS, "a", {"data": {"k": "v"}})
    await client.delete(CONFIG_MAPS, "a")
    batches = api.watch(ADMIN, Target(CONFIG_MAPS), WatchOptions(version), labels="tier=web")
    events = await anext(batches)

    assert ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"] == [event.type for event in events]
    assert "web" == events[1].stored.body["metadata"]["labels"]["tier"]
    assert decode(events[1].line)["object"]["metadata"]["resourceVersion"] == str(events[1].stored.version)


async def test_a_namespace_is_a_selection(client: LocalClient, api: Api) -> None:
    """A watch of one namespace sees nothing of the others."""
    version = str(api.store.version)
    await client.create(CONFIG_MAPS, config("a"), namespace="kube-system")
    await client.create(CONFIG_MAPS, config("b"))

    assert [("ADDED", "b")] == await read(api.watch(ADMIN, Target(CONFIG_MAPS, "default"), WatchOptions(version)), 1)


async def test_bookmarks_in_quiet_times(client: LocalClient, api: Api) -> None:
    """After a quiet interval a bookmark says how far the watcher has come, other kinds' changes included."""
    batches = api.watch(ADMIN, Target(CONFIG_MAPS), WatchOptions(str(api.store.version), interval=0.02))
    await client.create(SECRETS, {"metadata": {"name": "s"}})
    async with asyncio.timeout(5):
        events = await anext(batches)

    assert ("BOOKMARK", api.store.version) == (events[0].type, events[0].stored.version)


async def test_bookmarks_amid_unselected_changes(client: LocalClient, api: Api) -> None:
    """A watcher whose selector matches nothing hears of the passing time, however busy the kind is."""
    await client.create(CONFIG_MAPS, config("a"))
    options = WatchOptions(str(api.store.version), interval=0.05)
    reading = asyncio.ensure_future(read(api.watch(ADMIN, Target(CONFIG_MAPS), options, labels="none=such"), 1))
    for number in range(200):
        if reading.done():
            break
        await client.patch(CONFIG_MAPS, "a", {"data": {"k": str(number)}})
        await asyncio.sleep(0.005)

    assert [("BOOKMARK", "")] == await reading
    assert number < 150


@pytest.mark.parametrize("version", ["1", "99999999"])
async def test_a_lost_position(client: LocalClient, store: Store, version: str) -> None:
    """A version older than the history, or from another store, ends in 410 Expired."""
    for number in range(3):
        await client.create(CONFIG_MAPS, config(f"c{number}"))
    store._histories["configmaps"].forgotten = store.version - 1
    with pytest.raises(ApiError) as caught:
        await anext(client.api.watch(ADMIN, Target(CONFIG_MAPS), WatchOptions(version)))

    assert (410, "Expired") == (caught.value.code, caught.value.reason)


async def test_a_version_that_is_no_number(api: Api) -> None:
    """A resourceVersion is opaque to clients, but not any text."""
    with pytest.raises(ApiError, match='resourceVersion: Invalid value: "abc"'):
        await anext(api.watch(ADMIN, Target(CONFIG_MAPS), WatchOptions("abc")))


async def test_local_watch(client: LocalClient) -> None:
    """The client inside the daemon sees the same events as objects of its own."""
    await client.create(CONFIG_MAPS, config("a"))
    stream = client.watch(CONFIG_MAPS, resource_version="0")
    async with asyncio.timeout(5):
        event = await anext(stream)
    event.object["metadata"]["name"] = "changed"

    assert "ADDED" == event.type
    assert "a" == (await client.get(CONFIG_MAPS, "a"))["metadata"]["name"]
