"""An API server in memory, whose clock, uids and suffixes are known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from netlab.controlplane.api import Api
from netlab.controlplane.auth import TokenTable
from netlab.controlplane.local import LocalClient
from netlab.controlplane.store import Store

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def make_api(store: Store) -> Api:
    uids, suffixes = itertools.count(1), itertools.count(1)
    return Api(
        store,
        tokens=TokenTable.of({"admin": "admin-token", "edge": "edge-token", "node:node1": "node1-token"}),
        clock=lambda: NOW,
        new_uid=lambda: f"uid-{next(uids)}",
        new_suffix=lambda: f"{next(suffixes):05}",
    )


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store.open(":memory:")
    yield opened
    opened.close()


@pytest.fixture
def api(store: Store) -> Api:
    return make_api(store)


@pytest.fixture
def client(api: Api) -> LocalClient:
    return LocalClient(api)


@pytest.fixture
def new_api():
    """Make another server on a store, as a restarted daemon does."""
    return make_api
