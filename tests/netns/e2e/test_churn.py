"""Endpoints come and go several times a second, by every way a pod can leave a Service, and no connection is lost."""

from __future__ import annotations

import itertools
import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from labdriver import LabDriver, run
from traffic import Flow, Traffic

from netlab.api.resources import DEPLOYMENTS, PODS
from netlab.dataplane.names import host_namespace, namespace_path, pod_namespace
from netlab.errors import ApiError
from netlab.lab.find import connect
from netlab.state import StateDirectory

TOPOLOGY = Path(__file__).parent / "churn.yaml"
SECONDS = float(os.environ.get("NETLAB_CHURN_SECONDS") or 6)
PERIOD = 0.3  # seconds between two changes


@pytest.fixture(scope="module")
def churning():
    """The lab, once for all tests here."""
    driver = LabDriver(f"churn{os.getpid()}")
    driver.up(TOPOLOGY)
    yield driver
    run("down", driver.name)


def scale(client):
    """Scale between one and four, and back before the first change is in place."""
    for replicas in itertools.cycle((1, 4, 2, 3)):
        client.patch(DEPLOYMENTS, "churn", {"spec": {"replicas": replicas}}, namespace="default")
        yield


def delete(client):
    """Delete the youngest pod: one that may not be in any slice yet."""
    while True:
        if pods := churned(client):
            remove(client, pods[-1])
        yield


def unlabel_and_delete(client):
    """Take the label off that the Service selects, and delete the pod at once."""
    while True:
        if pods := churned(client):
            label(client, pods[0], None)
            remove(client, pods[0])
        yield


def relabel(client):
    """Take a pod out of its ReplicaSet and the Service, and give it back: the ReplicaSet then has one too many."""
    while True:
        for pod in churned(client)[:1]:
            label(client, pod, None, "other")
            yield
            label(client, pod, "web", "churn")
        yield


def churned(client):
    """Return the names of the churning pods that are not on their way out, the oldest first."""
    pods = client.list(PODS, namespace="default", label_selector="set=churn").items
    staying = [pod["metadata"] for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    return [meta["name"] for meta in sorted(staying, key=lambda meta: int(meta["resourceVersion"]))]


def remove(client, name):
    try:
        client.delete(PODS, name, namespace="default")
    except ApiError as error:
        if error.code != 404:
            raise


def label(client, name, app, owner="churn"):
    try:
        client.patch(PODS, name, {"metadata": {"labels": {"app": app, "set": owner}}}, namespace="default")
    except ApiError as error:
        if error.code != 404:
            raise


@contextmanager
def traffic(lab):
    """Ask the Service from a pod, a node and the client."""
    address, outside = lab.service("web")["clusterIP"], lab.service("web")["externalIP"].split(",")[0]
    pod = namespace_path(pod_namespace(lab.name, "default", "asker"))
    node, client = (namespace_path(host_namespace(lab.name, host)) for host in ("node2", "client"))
    flows = [
        Flow("pod, TCP", pod, (address, 80)),
        Flow("pod, TCP again", pod, (address, 80)),
        Flow("node, TCP", node, (address, 80)),
        Flow("client, TCP", client, (outside, 80)),
        Flow("pod, UDP", pod, (address, 81), "udp"),
        Flow("client, UDP", client, (outside, 81), "udp"),
    ]
    with Traffic(flows) as running:
        yield running


@pytest.mark.parametrize("change", [scale, delete, unlabel_and_delete, relabel], ids=lambda change: change.__name__)
def test_no_connection_is_lost(churning, change):
    """S8: a pod serves until every node has acknowledged the slices in which it was withdrawn."""
    with traffic(churning) as running, connect(StateDirectory.of(churning.name)) as client:
        steps = change(client)
        for _ in range(int(SECONDS / PERIOD)):
            next(steps)
            time.sleep(PERIOD)
    print(running.table())  # noqa: T201 -- the figures, with pytest -s

    assert {} == running.lost()
    assert all(tally.tried > 100 for tally in running.tallies.values())
