"""What all unit tests share."""

from __future__ import annotations

import pytest

from netlab.controlplane.store import Store


@pytest.fixture(autouse=True)
def _stores_are_closed(monkeypatch):
    """Close every store that a test opens: Python 3.13 reports a database that is merely dropped."""
    opened, open_store = [], Store.open.__func__

    def open_and_remember(cls, path):
        opened.append(open_store(cls, path))
        return opened[-1]

    monkeypatch.setattr(Store, "open", classmethod(open_and_remember))
    yield
    for store in opened:
        store.close()
