"""What `netlab status` says of pods and Services: kubectl's words, and endpoints counted as the proxy counts them."""

from __future__ import annotations

import pytest

from netlab.api.resources import ENDPOINT_SLICES, PODS, SERVICES
from netlab.cli import render
from netlab.lab import status
from netlab.lab.status import _service, pod_phase
from netlab.probe.plan import fake
from netlab.state import StateDirectory


def pod(init=(), main=(), containers=1, **metadata):
    spec = {"initContainers": [{"name": f"i{n}"} for n in range(2)], "containers": [{"name": "c"}] * containers}
    status = {
        "phase": "Pending",
        "initContainerStatuses": [{"state": s} for s in init],
        "containerStatuses": [{"state": s} for s in main],
    }
    return PODS.decode({"metadata": {"name": "p", **metadata}, "spec": spec, "status": status})


RUNNING, DONE = {"running": {}}, {"terminated": {"exitCode": 0, "reason": "Completed"}}
WAITING = {"waiting": {"reason": "PodInitializing"}}
CRASHING = {"waiting": {"reason": "CrashLoopBackOff"}}
FAILED = {"terminated": {"exitCode": 3, "reason": "Error"}}


@pytest.mark.parametrize(
    ("init", "main", "word"),
    [
        ((RUNNING, WAITING), (WAITING,), "Init:0/2"),
        ((DONE, RUNNING), (WAITING,), "Init:1/2"),
        ((DONE, CRASHING), (WAITING,), "Init:CrashLoopBackOff"),
        ((FAILED, WAITING), (WAITING,), "Init:Error"),
        ((DONE, DONE), (CRASHING,), "CrashLoopBackOff"),
        ((DONE, DONE), (RUNNING,), "Pending"),
    ],
)
def test_phase_names_the_init_container_that_runs(init, main, word):
    """A pod whose init containers have not completed is `Init:done/all`, as kubectl prints it."""
    assert word == pod_phase(pod(init, main))


def piece(addresses, port=80, ready=True):
    endpoints = [{"addresses": list(a), "conditions": {"ready": ready}} for a in addresses]
    meta = {"name": f"s{port}", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}}
    return ENDPOINT_SLICES.decode({"metadata": meta, "ports": [{"port": port}], "endpoints": endpoints})


WEB = SERVICES.decode({"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}})


@pytest.mark.parametrize(
    ("slices", "counts"),
    [
        ([piece([("172.30.1.2",)], 8081), piece([("172.30.1.2",)], 8082)], (2, 0)),
        ([piece([("10.0.0.1", "10.0.0.2")])], (1, 0)),
        ([piece([("10.0.0.1",)], ready=False), piece([("10.0.0.1",)])], (1, 0)),
        ([piece([("10.0.0.1",)]), piece([("10.0.0.2",)], ready=False)], (1, 1)),
    ],
    ids=["one address, two pods", "two addresses, one endpoint", "in two slices, the better state counts", "one not ready"],
)
def test_endpoints_are_counted_not_addresses(slices, counts):
    """An endpoint is one address and its ports; of several addresses the first is used."""
    found = _service(WEB, slices, {})

    assert counts == (found["endpoints"], found["notReady"])


def test_problems_name_what_a_service_does_not_get(tmp_path, monkeypatch):
    """`status` says why a LoadBalancer is pending, beside what the daemon reports."""

    class Client(fake.FakeLists):
        def get(self, _resource, name):
            return fake.lab(name)

        def list(self, resource, **_):
            return super().list(resource)

        def stream(self, *_):
            return iter([b'{"notes": ["pod default/p failed"]}'])

    objects = fake.cluster(services=[fake.service("web", type="LoadBalancer", clusterIP="10.96.0.5")])
    monkeypatch.setattr(status, "daemon_alive", lambda _: True)
    monkeypatch.setattr(status, "connect", lambda _: Client(objects))

    assert [
        "pod default/p failed",
        "Service default/web: the external address stays <pending>: the Lab has no spec.loadBalancer",
    ] == status.status(StateDirectory("test", tmp_path))["problems"]


def test_tables_fit_into_80_columns():
    """Namespaces are headings: a column for them would make every row of Services wrap."""
    service = {"type": "LoadBalancer", "clusterIP": "10.96.101.168", "externalIP": "198.51.100.1", "ports": "80:31764/TCP"}
    services = [{**service, "namespace": n, "name": "blue-nodeport", "endpoints": 3, "notReady": 1} for n in ("default", "shop")]
    pods = [{"namespace": "default", "name": "kuard-2qwt2bxfh8-h88zm", "ready": "1/1", "status": "Running", "restarts": 0,
             "ip": "10.244.2.4", "node": "node2"}]  # fmt: skip
    body = {"name": "x", "running": True, "runtime": "netns", "kubeProxyMode": "nftables", "hosts": [], "nodes": [], "pods": pods,
            "services": services, "edge": {"message": ""}, "problems": []}  # fmt: skip
    text = render.status(body)

    assert max(map(len, text.splitlines())) <= 80
    assert "Services of default:" in text
    assert "Services of shop:" in text
    assert "  3/4" in text
