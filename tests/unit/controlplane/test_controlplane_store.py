from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netlab.api.resources import CONFIG_MAPS, LEASES, PODS, SERVICES, Json
from netlab.controlplane.api import Api
from netlab.controlplane.store import Event as StoreEvent
from netlab.controlplane.store import History, Store, render
from netlab.errors import ApiError, LabError


def config(name: str, namespace: str = "default") -> Json:
    return {"metadata": {"name": name, "namespace": namespace, "uid": name}, "data": {"k": "v"}}


def test_one_counter_numbers_changes_of_all_kinds(store: Store) -> None:
    """Each change of any kind gets the next resourceVersion; each kind remembers its newest, deletions included."""
    first = store.put(CONFIG_MAPS, config("a")).version
    second = store.put(SERVICES, config("s")).version
    third = store.remove(CONFIG_MAPS, "default", "a").version

    assert (first + 1, first + 2) == (second, third)
    assert (third, second) == (store.last_change(CONFIG_MAPS), store.last_change(SERVICES))
    assert store.last_change(LEASES) < first


def test_list_is_sorted_and_of_one_namespace(store: Store) -> None:
    """A list is ordered by namespace and name."""
    for name, namespace in (("b", "default"), ("a", "default"), ("z", "apple")):
        store.put(CONFIG_MAPS, config(name, namespace))

    assert [("apple", "z"), ("default", "a"), ("default", "b")] == [s.key for s in store.list(CONFIG_MAPS)]
    assert [("default", "a"), ("default", "b")] == [s.key for s in store.list(CONFIG_MAPS, "default")]
    assert (2, 1, 0) == tuple(store.population(n) for n in ("default", "apple", "pear"))


def test_reopening_continues(tmp_path: Path) -> None:
    """After a restart the objects and the counter are as they were, also when the newest change was a deletion."""
    store = Store.open(tmp_path / "store.db")
    store.put(CONFIG_MAPS, config("a"))
    store.put(CONFIG_MAPS, config("b"))
    version = store.remove(CONFIG_MAPS, "default", "b").version
    store.close()
    again = Store.open(tmp_path / "store.db")

    assert version == again.version == again.last_change(CONFIG_MAPS)
    assert ["a"] == [s.body["metadata"]["name"] for s in again.list(CONFIG_MAPS)]
    assert version + 1 == again.put(CONFIG_MAPS, config("c")).version
    again.close()


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from netlab.api.resources import CONFIG_MAPS
from netlab.controlplane.store import Store
store = Store.open(sys.argv[1])
for i in range(50):
    store.put(CONFIG_MAPS, {"metadata": {"name": f"c{i}", "namespace": "default"}})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_loses_nothing(tmp_path: Path) -> None:
    """What was written before kill -9 is there for the next daemon."""
    path = tmp_path / "store.db"
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", KILLED, str(path), str(root)], check=False, timeout=20)
    store = Store.open(path)

    assert (50, 51) == (len(store.list(CONFIG_MAPS)), store.version)
    store.close()


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    """Two servers never share a store."""
    store = Store.open(tmp_path / "store.db")
    store.put(CONFIG_MAPS, config("a"))
    code = "import sys; sys.path.insert(0, sys.argv[2])\nfrom netlab.controlplane.store import Store\nStore.open(sys.argv[1])"
    root = Path(__file__).parents[3]
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store.db"), str(root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    store.close()

    assert f"Cannot open the lab's store {tmp_path / 'store.db'}: database is locked" in result.stderr


def test_a_damaged_file_is_a_lab_error(tmp_path: Path) -> None:
    """A file that is no database is reported with a remedy."""
    (tmp_path / "store.db").write_bytes(b"not a database" * 100)
    with pytest.raises(LabError, match="Cannot open the lab's store"):
        Store.open(tmp_path / "store.db")


def filled(count: int, capacity: int = 4) -> History:
    history = History(forgotten=1, capacity=capacity)
    for version in range(2, 2 + count):
        history.append(StoreEvent.of("ADDED", render({"metadata": {"name": "x", "resourceVersion": str(version)}}), None))
    return history


@pytest.mark.parametrize(("since", "expected"), [(1, [2, 3, 4]), (2, [3, 4]), (4, []), (9, [])])
def test_history_after(since: int, expected: list[int]) -> None:
    """A watcher gets every change after the one that it has seen."""
    history = filled(3)

    assert expected == [e.stored.version for e in history.read(history.after(since))]


def test_history_forgets() -> None:
    """Old changes are dropped in halves; who needs them gets 410 Expired, who kept up does not."""
    history = filled(9)
    with pytest.raises(ApiError, match="too old resource version") as caught:
        history.after(5)
    with pytest.raises(ApiError):
        history.read(0)

    assert (410, "Expired") == (caught.value.code, caught.value.reason)
    assert [7, 8, 9, 10] == [e.stored.version for e in history.read(history.after(6))]


async def test_history_wakes_all_waiters() -> None:
    """Everybody who waits for a change is told, and a waiter that gave up leaves nothing behind."""
    history = filled(0)
    waiters = [asyncio.ensure_future(history.grow()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[2].cancel()
    await asyncio.gather(waiters[2], return_exceptions=True)
    history.append(StoreEvent.of("ADDED", render({"metadata": {"name": "x", "resourceVersion": "2"}}), None))
    await asyncio.gather(*waiters[:2])

    assert [] == history._waiting


def test_an_event_is_serialised_once(store: Store) -> None:
    """All watchers of a change send the same bytes object."""
    store.put(PODS, config("a"))
    history = store.history(PODS)

    assert history.read(0)[0].line is history.read(0)[0].line
    assert history.read(0)[0].line.startswith(b'{"type":"ADDED","object":{"metadata":{"name":"a"')


GOOD = b'{"metadata":{"name":"good","namespace":"default","resourceVersion":"5"}}'


@pytest.mark.parametrize(
    ("resource", "body"),
    [
        pytest.param("configmaps", b"", id="empty"),
        pytest.param("configmaps", GOOD[:20], id="cut"),
        pytest.param("configmaps", b"\xff\x00\x17", id="random"),
        pytest.param("configmaps", b"[" * 100_000, id="nested"),
        pytest.param("configmaps", b"[]", id="a list"),
        pytest.param("configmaps", b'{"metadata":{}}', id="nameless"),
        pytest.param("configmaps", b'{"metadata":{"name":"other","namespace":"default","resourceVersion":"5"}}', id="other name"),
        pytest.param("configmaps", GOOD.replace(b"good", b"bad").replace(b'"5"', b'"x"'), id="version"),
        pytest.param("configmaps", GOOD.replace(b"good", b"bad").replace(b'"5"', b'"%b"' % (b"9" * 5000)), id="5000 digits"),
        pytest.param("pods", GOOD.replace(b"good", b"bad")[:-1] + b',"spec":{"nodeName":{"a":1}}}', id="no Pod any more"),
        pytest.param("pods", GOOD.replace(b"good", b"bad")[:-2] + b',"ownerReferences":["x"]}}', id="owners that are words"),
        pytest.param("wonders.example.com", GOOD.replace(b"good", b"bad"), id="a kind that nobody serves"),
    ],
)
def test_a_damaged_row_is_put_aside_named_and_replaced(tmp_path: Path, resource: str, body: bytes) -> None:
    """The store opens with the others, names the object, keeps the row for who wants to look, and takes a new one."""
    first = Store.open(tmp_path / "db")
    first._database.execute("INSERT INTO objects VALUES (?, 'default', 'bad', ?)", (resource, body))
    first._database.execute("INSERT INTO objects VALUES ('configmaps', 'default', 'good', ?)", (GOOD,))
    first.close()
    store = Store.open(tmp_path / "db")
    names = [stored.key[1] for kind in (CONFIG_MAPS, PODS) for stored in store.list(kind)]
    sentences = [str(found) for found in store.damaged()]
    aside = store._database.execute("SELECT resource, name, body FROM damaged").fetchall()
    kind = {"pods": PODS}.get(resource, CONFIG_MAPS)
    stored = store.put(kind, config("bad"))
    after = store.damaged()
    store.close()
    again = Store.open(tmp_path / "db")
    found, later = again.get(kind, "default", "bad"), again.damaged()
    again.close()

    assert names == ["good"]
    assert len(sentences) == 1
    assert "default/bad is damaged in the lab's store and was left out: " in sentences[0]
    assert aside == [(resource, "bad", body)]
    assert after == (() if resource != "wonders.example.com" else after)
    assert found is not None
    assert (found.version, later) == (stored.version, ())


def test_watchers_of_a_kind_with_a_damaged_row_list_again(tmp_path: Path) -> None:
    """For an agent that goes on watching, the object that was put aside is gone: 410, and a new list."""
    first = Store.open(tmp_path / "db")
    seen = first.put(SERVICES, {**config("web"), "data": None}).version
    first._database.execute("UPDATE objects SET body = x'00' WHERE resource = 'services'")
    first.close()
    store = Store.open(tmp_path / "db")
    with pytest.raises(ApiError) as gone:
        store.history(SERVICES).after(seen)
    store.close()

    assert gone.value.code == 410


@pytest.mark.parametrize(
    ("resource", "more"),
    [
        (SERVICES, {"spec": {"clusterIP": "no address", "ports": [{"port": 80, "nodePort": 10**9}]}}),
        (SERVICES, {"spec": {"clusterIP": "10.96.0.7", "ports": [{"port": -1, "nodePort": -5}]}}),
        (PODS, {"metadata": {"ownerReferences": [{"uid": ""}, {}]}}),
    ],
)
def test_a_server_starts_over_objects_that_no_rule_has_seen(store: Store, resource: Any, more: Json) -> None:
    """Values that the indexes cannot use concern their object (findings B2)."""
    body = config("odd")
    store.put(resource, {**body, **more, "metadata": {**body["metadata"], **more.get("metadata", {})}})

    assert Api(store).store.get(resource, "default", "odd") is not None
