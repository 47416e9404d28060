from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from netlab.api.resources import CONFIG_MAPS
from netlab.controlplane.api import Api
from netlab.controlplane.client import ObjectList, WatchEvent
from netlab.controlplane.informer import Informer
from netlab.controlplane.local import LocalClient
from netlab.controlplane.status import unavailable
from netlab.controlplane.store import Store


def config(name: str, value: str = "v") -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"k": value}}


class FlakyClient:
    """A client whose server can be taken away and brought back; counts lists."""

    def __init__(self, client: LocalClient) -> None:
        self.client = client
        self.down = False
        self.lists = 0
        self.broken = asyncio.Event()
        self.refused = asyncio.Event()  # somebody has asked while it was down

    async def list(self, resource: Any, **selectors: Any) -> ObjectList:
        self._check()
        self.lists += 1
        return await self.client.list(resource, **selectors)

    async def watch(self, resource: Any, **options: Any) -> AsyncIterator[WatchEvent]:
        self._check()
        stream = self.client.watch(resource, **options)
        broken = asyncio.ensure_future(self.broken.wait())
        while True:
            following = asyncio.ensure_future(anext(stream))
            await asyncio.wait([following, broken], return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                self.broken.clear()
                raise unavailable("the watch broke off")
            yield following.result()

    def _check(self) -> None:
        if self.down:
            self.refused.set()
            raise unavailable("the server is down")


def informer_of(client: Any, **options: Any) -> Informer[Any]:
    return Informer(client, CONFIG_MAPS, first_retry=0.002, longest_retry=0.01, **options)


@asynccontextmanager
async def running(informer: Informer[Any]) -> AsyncIterator[Informer[Any]]:
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(5):
            yield informer
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_cache_follows(client: LocalClient, api: Api) -> None:
    """What is created, changed and deleted is so in the cache, typed and by key."""
    await client.create(CONFIG_MAPS, config("a"))
    async with running(informer_of(client)) as informer:
        await informer.wait_for()
        first = dict(informer.cache)
        await client.patch(CONFIG_MAPS, "a", {"data": {"k": "w"}})
        await client.create(CONFIG_MAPS, config("b"))
        await informer.wait_for(api.store.last_change(CONFIG_MAPS))
        second = {key: obj.data for key, obj in informer.cache.items()}
        await client.delete(CONFIG_MAPS, "a")
        await informer.wait_for(api.store.last_change(CONFIG_MAPS))

        assert ["default/a"] == list(first)
        assert {"default/a": {"k": "w"}, "default/b": {"k": "v"}} == second
        assert ["default/b"] == list(informer.cache)
        assert (True, api.store.version) == (informer.has_synced, informer.resource_version)


async def test_changes_are_reported(client: LocalClient, api: Api) -> None:
    """Handlers get key, before and after; the shared event is set."""
    seen: list[tuple[str, bool, bool]] = []
    changed = asyncio.Event()
    informer = informer_of(client, changed=changed, on_change=lambda key, old, new: seen.append((key, old is None, new is None)))
    async with running(informer):
        await informer.wait_for()
        changed.clear()
        await client.create(CONFIG_MAPS, config("a"))
        await changed.wait()
        await client.patch(CONFIG_MAPS, "a", {"data": {"k": "w"}})
        await client.delete(CONFIG_MAPS, "a")
        await informer.wait_for(api.store.version)

    assert [("default/a", True, False), ("default/a", False, False), ("default/a", False, True)] == seen


async def test_plain_json(client: LocalClient) -> None:
    """With decode=False the cache holds the JSON objects."""
    await client.create(CONFIG_MAPS, config("a"))
    async with running(informer_of(client, decode=False)) as informer:
        await informer.wait_for()

        assert {"k": "v"} == informer.cache["default/a"]["data"]


async def test_a_broken_watch_continues(client: LocalClient, api: Api) -> None:
    """After a broken connection the watch goes on where it was; nothing is listed again."""
    flaky = FlakyClient(client)
    async with running(informer_of(flaky)) as informer:
        await informer.wait_for()
        flaky.down = True
        flaky.broken.set()
        await flaky.refused.wait()
        await client.create(CONFIG_MAPS, config("missed"))
        flaky.refused.clear()
        await flaky.refused.wait()
        gone = dict(informer.cache)
        flaky.down = False
        await informer.wait_for(api.store.last_change(CONFIG_MAPS))

        assert ({}, ["default/missed"], 1) == (gone, list(informer.cache), flaky.lists)


async def test_a_server_that_comes_late(client: LocalClient) -> None:
    """An informer started before its server finds it."""
    flaky = FlakyClient(client)
    flaky.down = True
    await client.create(CONFIG_MAPS, config("a"))
    async with running(informer_of(flaky)) as informer:
        await flaky.refused.wait()
        before = informer.has_synced
        flaky.down = False
        await informer.wait_for()

        assert (False, ["default/a"]) == (before, list(informer.cache))


async def test_gone_leads_to_a_new_list(client: LocalClient, api: Api, store: Store) -> None:
    """After 410 everything is listed again, and only what differs is reported, deletions included."""
    for name in ("same", "changed", "deleted"):
        await client.create(CONFIG_MAPS, config(name))
    seen: list[tuple[str, bool]] = []
    flaky = FlakyClient(client)
    async with running(informer_of(flaky)) as informer:
        await informer.wait_for()
        informer.on_change.append(lambda key, _old, new: seen.append((key, new is None)))
        flaky.down = True
        flaky.broken.set()
        await flaky.refused.wait()
        await client.delete(CONFIG_MAPS, "deleted")
        await client.patch(CONFIG_MAPS, "changed", {"data": {"k": "w"}})
        store._histories["configmaps"].forgotten = store.version
        flaky.down = False
        await informer.wait_for(api.store.last_change(CONFIG_MAPS))

        assert [("default/changed", False), ("default/deleted", True)] == sorted(seen)
        assert 2 == flaky.lists
