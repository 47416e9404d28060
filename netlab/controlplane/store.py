"""The store: every object of the lab as JSON, in memory and, before any reply, in SQLite.

Rules:
1. One counter, the resourceVersion, numbers every change of every kind. It never goes back, also across restarts.
2. A change is committed to SQLite first, then visible in memory, then announced. So `kill -9` loses nothing that a
   client got a reply for; `synchronous=OFF` is enough, because the page cache outlives the process (a power cut clears /run
   and the lab's namespaces with it).
3. An object is serialized once. Lists, watches and the database share those bytes (`Stored.raw`, `Event.line`).
4. Stored bodies are never changed in place; a change stores a new body. A caller copies a body before it edits it.
5. A row that is not an object of its kind any more (damaged on disk, left by another release, written when no rule
   forbade it) is moved to a separate table as the store opens: `damaged` names it while no object has taken its place. So one
   row never keeps a daemon from starting; `netlab up` with a file that holds the object writes it again.
6. Each kind keeps a History of recent changes, so that busy Leases don't push Services out. A watcher is only a
   position in it: the backlog and the live stream are one code path, a slow watcher costs no memory and in the end
   meets 410 Expired, as in Kubernetes. A History is bounded by count and by bytes, and holds bytes only: the body of a
   version that is not the newest (five times as large as its bytes) is decoded again for a watcher that selects.

What would surprise: after a restart histories are empty; a watcher that had seen the newest change of its kind
continues, any other gets 410 and lists again. The lists' resourceVersion is the newest change of the kind (as from
Kubernetes' watch cache), not the global counter.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from netlab.api.numbers import whole_number
from netlab.api.resources import RESOURCES, Json
from netlab.containment import Contained, describe
from netlab.controlplane.status import AnyResource, expired, group_resource
from netlab.errors import ApiError, LabError, UnreadableError

HISTORY: Final = 1024  # changes kept per kind, up to twice as many: minutes of a busy lab
HISTORY_BYTES: Final = 1 << 20  # of their lines, up to twice as many; a change costs a little more than twice its line
HISTORY_LEAST: Final = 16  # changes kept however large: watchers that are up to date must be able to read the next one
LOCK_SECONDS: Final = 1.0  # how long a daemon that is just ending may hold the file
FIRST_VERSION: Final = 1  # the counter before the first write; "0" means "any" to Kubernetes' clients

_SCHEMA: Final = """
PRAGMA auto_vacuum = FULL;
PRAGMA journal_mode = WAL;
PRAGMA journal_size_limit = 4194304;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS damaged (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB, why TEXT NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (resource TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
"""

_UNUSABLE: Final = (sqlite3.Error, ValueError, LookupError, TypeError)  # a file, or what is in it
Key = tuple[str, str]  # namespace ("" for cluster-scoped kinds) and name
_KINDS: Final = {group_resource(resource): resource for resource in RESOURCES}
log = logging.getLogger("netlab.controlplane")
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode


class Stored:
    """An object as it is: `body` to look at, `raw` to send."""

    __slots__ = ("_body", "raw", "version")

    def __init__(self, body: Json, raw: bytes, version: int) -> None:
        self._body: Json | None = body
        self.raw = raw
        self.version = version

    @property
    def body(self) -> Json:
        """Return the object; of a version that is not the newest a fresh copy each time."""
        return decode(self.raw) if self._body is None else self._body

    def supersede(self) -> None:
        """Let go of the body: this version is not the newest any more, only a history may still hold it."""
        self._body = None

    @property
    def key(self) -> Key:
        meta = self.body["metadata"]
        return meta.get("namespace", ""), meta["name"]

    def copy(self) -> Json:
        """Return a body that may be edited."""
        fresh: Json = decode(self.raw)
        return fresh


def render(body: Json) -> Stored:
    """Serialize a body that carries its resourceVersion."""
    return Stored(body, encode(body), int(body["metadata"]["resourceVersion"]))


def at_version(body: Json, version: int) -> Json:
    """Return the body with another resourceVersion; the original stays as it is."""
    return {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}}


def _readable(resource: str, key: Key, body: bytes) -> Stored:
    """Return a row as the object that it is; raises for one of another kind or key."""
    kind = _KINDS[resource]
    try:
        stored = Stored(decode(body), body, 0)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnreadableError(str(error)) from error
    kind.decode(stored.body)
    version = whole_number(stored.body["metadata"]["resourceVersion"], least=0)
    if not version or stored.key != key:
        raise LabError(f"its metadata is that of version {version} of {stored.key}, stored as {key}")
    return Stored(stored.body, body, version)


@dataclass(frozen=True, slots=True)
class Damaged:
    """An object that was put aside as the store opened, and why."""

    resource: str
    key: Key
    why: str

    def __str__(self) -> str:
        kind = _KINDS[self.resource].kind if self.resource in _KINDS else self.resource
        return (
            f"{kind} {'/'.join(filter(None, self.key))} is damaged in the lab's store and was left out: {self.why};"
            " `netlab up FILE` restores it if FILE contains it"
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one object; `line` is how a watch sends it, made once for all watchers."""

    type: str
    stored: Stored
    previous: Stored | None
    line: bytes

    @classmethod
    def of(cls, kind: str, stored: Stored, previous: Stored | None) -> Event:
        return cls(kind, stored, previous, event_line(kind, stored.raw))


def event_line(kind: str, raw: bytes) -> bytes:
    """Return one line of a watch."""
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), raw)


class History:
    """The recent changes of one kind, and the waiters for the next one. Positions count changes since the start."""

    def __init__(self, forgotten: int, capacity: int = HISTORY, capacity_bytes: int = HISTORY_BYTES) -> None:
        self.forgotten = forgotten  # the newest change that is no longer held
        self.latest = forgotten
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._bytes = 0
        self._events: list[Event] = []
        self._dropped = 0
        self._waiting: list[asyncio.Future[None]] = []

    def append(self, event: Event) -> None:
        """Hold one more change, forget the oldest ones, wake the watchers."""
        self._events.append(event)
        self._bytes += len(event.line)
        self.latest = event.stored.version
        if len(self._events) > 2 * self._capacity or self._bytes > 2 * self._capacity_bytes:
            self._forget()
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _forget(self) -> None:
        """Forget the oldest changes, down to the capacity: seldom, and then many at once."""
        gone = 0
        while (len(self._events) - gone > self._capacity or self._bytes > self._capacity_bytes) and (
            len(self._events) - gone > min(HISTORY_LEAST, self._capacity)
        ):
            self._bytes -= len(self._events[gone].line)
            gone += 1
        if gone:
            self.forgotten = self._events[gone - 1].stored.version
            del self._events[:gone]
            self._dropped += gone

    def after(self, version: int) -> int:
        """Return the position from which every change newer than `version` follows; 410 when some are forgotten."""
        if version < self.forgotten:
            raise expired(version, self.forgotten)
        return self._dropped + bisect_right(self._events, version, key=lambda event: event.stored.version)

    @property
    def end(self) -> int:
        """The position behind the newest change."""
        return self._dropped + len(self._events)

    def read(self, position: int) -> list[Event]:
        """Return all changes from a position on; 410 for a watcher that fell behind the history."""
        if position < self._dropped:
            raise expired(0, self.forgotten)
        return self._events[position - self._dropped :]

    async def grow(self) -> None:
        """Wait for the next change."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)


class Store:
    """All objects by kind, namespace and name. Not for several threads; one process owns the file."""

    def __init__(self, database: sqlite3.Connection, first: int = FIRST_VERSION, history: int = HISTORY) -> None:
        self._database = database
        self._objects: dict[str, dict[Key, Stored]] = {group_resource(r): {} for r in RESOURCES}
        self._damaged: list[Damaged] = []
        for row in database.execute("SELECT resource, namespace, name, body FROM objects").fetchall():
            self._load(*row)
        self._population = Counter(stored.key[0] for objects in self._objects.values() for stored in objects.values())
        changes = dict(database.execute("SELECT resource, version FROM changes"))
        first = FIRST_VERSION if changes else first
        self.version: int = max(changes.values(), default=first)
        self.listeners: set[asyncio.Event] = set()  # set at every change of any kind, for readers of the whole store
        self._histories = {name: History(changes.get(name, first), history) for name in self._objects}

    def _load(self, resource: str, namespace: str, name: str, body: bytes) -> None:
        """Load one row, or move it to `damaged`."""
        with Contained() as attempt:
            self._objects[resource][namespace, name] = _readable(resource, (namespace, name), body)
        if attempt.error is None:
            return
        why = describe(attempt.error)
        log.error("object=damaged resource=%s key=%s/%s error=%r", resource, namespace, name, why)
        self._damaged.append(Damaged(resource, (namespace, name), why))
        row = resource, namespace, name
        self._database.execute("INSERT OR REPLACE INTO damaged VALUES (?, ?, ?, ?, ?)", (*row, body, why))
        self._database.execute("DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?", row)
        newest = "SELECT coalesce(max(version), ?) + 1 FROM changes"  # watchers list again: for them it is gone
        self._database.execute(f"INSERT OR REPLACE INTO changes VALUES (?, ({newest}))", (resource, FIRST_VERSION))  # noqa: S608

    def damaged(self) -> tuple[Damaged, ...]:
        """Return the objects that were put aside as the store opened, and that nothing has taken the place of."""
        return tuple(found for found in self._damaged if found.key not in self._objects.get(found.resource, {}))

    @classmethod
    def open(cls, path: Path | str, *, first: int = FIRST_VERSION, history: int = HISTORY) -> Store:
        """Open or create the file; `:memory:` keeps nothing. `first`: the resourceVersion at which a new one begins."""
        database: sqlite3.Connection | None = None
        try:
            database = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
            database.execute("PRAGMA locking_mode = EXCLUSIVE")  # a second daemon of the same lab is refused, not mixed in
            database.executescript(_SCHEMA)
            return cls(database, first, history)
        except _UNUSABLE as error:
            if database is not None:
                database.close()
            raise _not_opened(path, error) from error

    @classmethod
    def copy_of(cls, path: Path) -> Store:
        """Return a copy in memory: what is damaged stays in the file, for the daemon to put aside and name."""
        try:
            with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as source:
                database = sqlite3.connect(":memory:", isolation_level=None)
                source.backup(database)
            database.executescript(_SCHEMA)
            return cls(database)
        except _UNUSABLE as error:
            raise _not_opened(path, error) from error

    def close(self) -> None:
        """Close the file; the store must not be used after."""
        self._database.close()

    # ---- reading
    def get(self, resource: AnyResource, namespace: str, name: str) -> Stored | None:
        """Return one object, None when there is none."""
        return self._objects[group_resource(resource)].get((namespace, name))

    def list(self, resource: AnyResource, namespace: str = "") -> list[Stored]:
        """Return the objects of a kind, of one namespace or of all, by namespace and name."""
        objects = self._objects[group_resource(resource)]
        return [objects[key] for key in sorted(objects) if not namespace or key[0] == namespace]

    def population(self, namespace: str) -> int:
        """Return how many objects a namespace holds."""
        return self._population[namespace]

    def all(self) -> Iterable[tuple[AnyResource, Stored]]:
        """Return every object of every kind."""
        for resource in RESOURCES:
            for stored in tuple(self._objects[group_resource(resource)].values()):
                yield resource, stored

    def last_change(self, resource: AnyResource) -> int:
        """Return the resourceVersion of the newest change of a kind, deletions included."""
        return self._histories[group_resource(resource)].latest

    def history(self, resource: AnyResource) -> History:
        """Return the recent changes of a kind, for watchers."""
        return self._histories[group_resource(resource)]

    # ---- writing
    def put(self, resource: AnyResource, body: Json) -> Stored:
        """Store a body under the next resourceVersion and announce it."""
        name = group_resource(resource)
        stored = render(at_version(body, self.version + 1))
        key = stored.key
        previous = self._objects[name].get(key)
        self._commit(name, stored.version, "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", (name, *key, stored.raw))
        self._objects[name][key] = stored
        self._population[key[0]] += previous is None
        self._announce(name, Event.of("MODIFIED" if previous else "ADDED", stored, previous))
        if previous:
            previous.supersede()
        return stored

    def remove(self, resource: AnyResource, namespace: str, name: str) -> Stored:
        """Remove an object and announce it; returns its last state under the deletion's resourceVersion."""
        kind = group_resource(resource)
        previous = self._objects[kind][namespace, name]
        stored = render(at_version(previous.body, self.version + 1))
        statement = "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?"
        self._commit(kind, stored.version, statement, (kind, namespace, name))
        del self._objects[kind][namespace, name]
        self._population[namespace] -= 1
        if not self._population[namespace]:
            del self._population[namespace]
        self._announce(kind, Event.of("DELETED", stored, previous))
        previous.supersede()
        stored.supersede()
        return stored

    def _commit(self, kind: str, version: int, statement: str, arguments: tuple[object, ...]) -> None:
        try:
            self._database.execute("BEGIN")
            self._database.execute(statement, arguments)
            self._database.execute("INSERT OR REPLACE INTO changes VALUES (?, ?)", (kind, version))
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise ApiError(500, "InternalError", f"cannot write to the store: {error}; is the file system full?") from error
        self.version = version

    def _announce(self, kind: str, event: Event) -> None:
        self._histories[kind].append(event)
        for listener in self.listeners:
            listener.set()


def _not_opened(path: Path | str, error: Exception) -> LabError:
    remedy = "Another daemon of this lab may still be running, or the file is damaged; `netlab down` removes both."
    return LabError(f"Cannot open the lab's store {path}: {error}", remedy=remedy)
