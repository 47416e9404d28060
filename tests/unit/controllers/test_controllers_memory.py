"""The control plane's memory stays flat while pods and endpoints change (the soak: 53 to 161 MB in 8 minutes)."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

from test_controllers_manager import Cluster

from netlab.api.resources import EVENTS, PODS
from netlab.recent import Recent

ROUNDS = 12


async def churn(cluster: Cluster, rounds: int) -> None:
    """Scale a Deployment up and down; some pods become unready and ready again."""
    for number in range(rounds):
        await cluster.scale(2 + number % 2 * 3)
        for pod in await cluster.items(PODS):
            for ready in ("False", "True"):
                status = {"conditions": [{"type": "Ready", "status": ready}]}
                await cluster.client.patch(
                    PODS, pod["metadata"]["name"], {"status": status}, namespace="default", subresource="status"
                )
                await cluster.idle()
        cluster.client.api.expiry.sweep()


def traced() -> int:
    """Return the bytes that Python code has allocated since tracing began and holds."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_memory_stays_flat_under_changes() -> None:
    """Once histories and Events have reached their bounds, twice as many changes cost nothing."""
    cluster = Cluster(history=16, most_events=8)
    cluster.manager._told = Recent(8)
    running = asyncio.create_task(cluster.manager.run())
    await cluster.boot()
    await cluster.deploy(2)
    tracemalloc.start(1)
    await churn(cluster, ROUNDS)
    before = traced()
    changes = cluster.store.version
    await churn(cluster, 2 * ROUNDS)
    after = traced()
    tracemalloc.stop()
    changes = cluster.store.version - changes
    events = len(await cluster.items(EVENTS))
    running.cancel()
    await asyncio.wait([running])
    cluster.store.close()

    assert changes > 400
    assert after - before < 100 * changes, (before, after, changes)  # bytes; a change that is kept costs 2,000 and more
    assert events <= 8 + 10  # the bound, and those of the last round
