"""What the API server keeps is bounded: Events, histories, the file (findings M5 and the soak)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from netlab.api.resources import CONFIG_MAPS, EVENTS, Json
from netlab.controlplane.api import Api, Target
from netlab.controlplane.auth import ADMIN
from netlab.controlplane.store import HISTORY_LEAST, History, Store, render
from netlab.controlplane.store import Event as StoreEvent

START = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
DEFAULT = Target(EVENTS, "default")


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def make_event(name: str, **more: object) -> Json:
    about = {"kind": "Service", "namespace": "default", "name": "blue"}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": about,
        **more,
    }


def names(store: Store) -> list[str]:
    return [stored.key[1] for stored in store.list(EVENTS)]


@pytest.mark.parametrize(
    ("minutes", "left"), [(0, ["early", "late"]), (59, ["early", "late"]), (60, ["late"]), (89, ["late"]), (90, [])]
)
def test_events_expire_after_an_hour(store: Store, minutes: int, left: list[str]) -> None:
    """An Event lives for an hour, as with --event-ttl; its watchers see it DELETED and the file forgets it."""
    clock = Clock()
    api = Api(store, clock=clock)
    api.create(ADMIN, DEFAULT, make_event("early"))
    clock.now = START + timedelta(minutes=30)
    api.create(ADMIN, DEFAULT, make_event("late"))
    clock.now = START + timedelta(minutes=minutes)
    removed = api.expiry.sweep()

    assert (left, 2 - len(left)) == (names(store), removed)
    assert len(left) == store._database.execute("SELECT count(*) FROM objects WHERE resource = 'events'").fetchone()[0]
    assert removed == sum(e.type == "DELETED" for e in store.history(EVENTS).read(0))


def test_an_event_that_is_written_again_lives_longer(store: Store) -> None:
    """The hour begins with the last write."""
    clock = Clock()
    api = Api(store, clock=clock)
    api.create(ADMIN, DEFAULT, make_event("again"))
    api.expiry.sweep()
    clock.now = START + timedelta(minutes=50)
    api.update(ADMIN, Target(EVENTS, "default", "again"), make_event("again", count=2))
    api.expiry.sweep()
    clock.now = START + timedelta(minutes=109)
    first = api.expiry.sweep()
    clock.now = START + timedelta(minutes=110)

    assert (0, 1) == (first, api.expiry.sweep())


@pytest.mark.parametrize("moved", [timedelta(days=-2), timedelta(days=2)])
def test_events_expire_with_a_clock_that_is_set(store: Store, moved: timedelta) -> None:
    """A clock set back keeps an Event for an hour more at most, one set forward ends it."""
    clock = Clock()
    api = Api(store, clock=clock)
    api.create(ADMIN, DEFAULT, make_event("one"))
    clock.now = START + moved
    api.expiry.sweep()
    clock.now += timedelta(hours=1)
    api.expiry.sweep()

    assert [] == names(store)


def test_finalizers_do_not_hold_an_expired_event(store: Store) -> None:
    """Nor does an Event under deletion stay."""
    clock = Clock()
    api = Api(store, clock=clock)
    body = make_event("held")
    body["metadata"]["finalizers"] = ["example.com/held"]
    api.create(ADMIN, DEFAULT, body)
    api.delete(ADMIN, Target(EVENTS, "default", "held"))
    clock.now = START + timedelta(hours=1)
    api.expiry.sweep()

    assert ([], 0) == (names(store), api._registry._live.get("held", 0))


def test_events_are_bounded_by_number(store: Store) -> None:
    """The oldest go first."""
    clock = Clock()
    api = Api(store, clock=clock, most_events=3)
    for number in range(6):
        clock.now = START + timedelta(seconds=number)
        api.create(ADMIN, DEFAULT, make_event(f"e{number}"))
    api.expiry.sweep()

    assert ["e3", "e4", "e5"] == names(store)
    assert 3 == len(api.expiry._written)


def test_expiry_knows_events_of_an_earlier_daemon(tmp_path: Path) -> None:
    """Their age is that of their creation."""
    clock = Clock()
    store = Store.open(tmp_path / "store.db")
    Api(store, clock=clock).create(ADMIN, DEFAULT, make_event("old"))
    store.close()
    clock.now = START + timedelta(hours=1)
    again = Store.open(tmp_path / "store.db")

    assert (1, []) == (Api(again, clock=clock).expiry.sweep(), names(again))


# ---- histories and the file
def change(version: int, size: int) -> StoreEvent:
    return StoreEvent.of(
        "MODIFIED", render({"metadata": {"name": "x", "resourceVersion": str(version)}, "data": "x" * size}), None
    )


@pytest.mark.parametrize(
    ("size", "count", "most_bytes", "least"),
    [(10, 100, 4000, 16), (1000, 100, 20_000, 16), (5000, 100, 4000, HISTORY_LEAST), (100_000, 40, 4000, HISTORY_LEAST)],
)
def test_history_is_bounded_by_bytes(size: int, count: int, most_bytes: int, least: int) -> None:
    """It holds at most twice its bytes, or the newest few changes, and never loses the newest."""
    history = History(forgotten=1, capacity=1000, capacity_bytes=most_bytes)
    for version in range(2, count + 2):
        history.append(change(version, size))
        held = history._events
        assert sum(len(event.line) for event in held) == history._bytes
        assert history._bytes <= 2 * most_bytes or len(held) <= HISTORY_LEAST + 1
        assert [version] == [event.stored.version for event in history.read(history.end - 1)]
    assert len(history._events) >= least
    assert history.forgotten == history._events[0].stored.version - 1


def test_history_holds_no_bodies_of_old_versions(store: Store) -> None:
    """A body costs five times its bytes: only the newest version keeps its own, an older one is decoded when asked for."""
    body: Json = {"metadata": {"name": "a", "namespace": "default", "uid": "a"}, "data": {"k": "0"}}
    for number in range(5):
        store.put(CONFIG_MAPS, {**body, "data": {"k": str(number)}})
    events = store.history(CONFIG_MAPS).read(0)
    store.remove(CONFIG_MAPS, "default", "a")
    deleted = store.history(CONFIG_MAPS).read(5)[0]

    assert [str(number) for number in range(5)] == [event.stored.body["data"]["k"] for event in events]
    assert {None} == {event.stored._body for event in [*events, deleted]}
    assert ("4", ("default", "a")) == (deleted.stored.body["data"]["k"], deleted.stored.key)


def test_the_file_does_not_grow(tmp_path: Path) -> None:
    """4,000 objects of 2 kB come and go, one object is written 1,000 times: file and journal stay small."""
    path = tmp_path / "store.db"
    store = Store.open(path)
    for number in range(4000):
        store.put(
            CONFIG_MAPS, {"metadata": {"name": f"c{number}", "namespace": f"n{number}", "uid": "u"}, "data": {"k": "x" * 2000}}
        )
        if number >= 20:
            store.remove(CONFIG_MAPS, f"n{number - 20}", f"c{number - 20}")
    for _ in range(1000):
        store.put(CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "n", "uid": "u"}, "data": {"k": "x" * 2000}})
    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    population = len(store._population)
    store.close()

    assert sizes["store.db"] < 1_000_000, sizes
    assert sizes["store.db-wal"] < 5_000_000, sizes
    assert path.stat().st_size < 200_000
    assert 21 == population


def test_the_file_shrinks_again(tmp_path: Path) -> None:
    """What many objects took is given back when they have gone: the record is in memory (/run)."""
    store = Store.open(tmp_path / "store.db")
    for number in range(1000):
        store.put(CONFIG_MAPS, {"metadata": {"name": f"c{number}", "namespace": "n", "uid": "u"}, "data": {"k": "x" * 2000}})
    for number in range(1000):
        store.remove(CONFIG_MAPS, "n", f"c{number}")
    store.close()

    assert (tmp_path / "store.db").stat().st_size < 100_000
