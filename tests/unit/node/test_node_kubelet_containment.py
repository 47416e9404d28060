"""One bad pod, object or piece of news stops no other pod of the kubelet's nodes (findings B2, B3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from kubeletdriver import kubelet_of, pod, settled, until

from netlab.api.resources import EVENTS, LEASES, NODES, PODS, SECRETS, SERVICES
from netlab.controlplane.api import Api
from netlab.controlplane.local import LocalClient
from netlab.controlplane.loop import RoundTimes
from netlab.controlplane.patches import merge
from netlab.controlplane.store import Store
from netlab.dataplane.names import namespace_path
from netlab.kernel.fake import FakeKernel
from netlab.node.kubelet import sandbox
from netlab.node.kubelet.kubelet import Kubelet
from netlab.node.kubelet.pods import PodWorker
from netlab.node.pods.fake import FakePodRuntime
from netlab.node.pods.runtime import Began, Ended, Refused, Run, RunKey
from netlab.state import StateDirectory

HUGE = "9" * 5000
NODE = {
    "metadata": {"name": "node1"},
    "spec": {"podCIDR": "10.244.1.0/24"},
    "status": {"addresses": [{"type": "InternalIP", "address": "172.30.1.1"}]},
}


@dataclass
class Daemon:
    """What of a daemon the kubelet needs."""

    store: Store
    client: LocalClient
    runtime: FakePodRuntime
    kubelet: Kubelet
    task: asyncio.Task[None]
    deadline: float = 10.0

    def put(self, resource: Any, body: dict[str, Any]) -> None:
        """Store an object as it is, as an older release or another hand may have left it."""
        meta = {"namespace": "default", "uid": f"uid-{body['metadata']['name']}", **body["metadata"]}
        self.store.put(resource, {**body, "metadata": meta})

    async def phase(self, name: str) -> str:
        body = await self.client.get(PODS, name)
        return str(body.get("status", {}).get("phase", "")) if isinstance(body.get("status"), dict) else ""

    async def runs(self, *names: str) -> None:
        """Wait until pods run."""

        async def so() -> bool:
            return [await self.phase(name) for name in names] == ["Running"] * len(names)

        await until(self, so)

    async def events(self, name: str) -> set[str]:
        listed = (await self.client.list(EVENTS)).items
        return {f"{e['reason']}: {e['message']}" for e in listed if e["involvedObject"]["name"] == name}


@asynccontextmanager
async def daemon(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    monkeypatch.setattr(sandbox, "inode", lambda _path: 1)
    state = StateDirectory("lab", tmp_path / "lab")
    state.create()
    kernel = FakeKernel()
    kernel.create_namespaces([namespace_path("lab-node1")])
    store = Store.open(":memory:")
    client = LocalClient(Api(store))
    await client.create(NODES, NODE)
    runtime = FakePodRuntime(kernel)
    kubelet = kubelet_of(client, kernel, runtime, state, round_times=RoundTimes(retry=0.02), start_retry_seconds=0.05)
    task = asyncio.create_task(kubelet.run())
    try:
        yield Daemon(store, client, runtime, kubelet, task)
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        store.close()


STATE = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
ONCE = {"name": "c0", "containerID": "netlab://1", "restartCount": 1}


@pytest.mark.parametrize(
    ("change", "repair"),
    [
        pytest.param({"spec": {"nodeName": {"a": 1}}}, {"spec": {"nodeName": "node1"}}, id="bound to a map"),
        pytest.param({"spec": {"containers": "none"}}, {"spec": {"containers": [{"name": "c0", "image": "i"}]}}, id="a word"),
        pytest.param(
            {"status": {"containerStatuses": [{**ONCE, "state": STATE, "lastState": {"terminated": {"exitCode": HUGE}}}]}},
            {"status": {"containerStatuses": None}},
            id="an exit code of 5000 digits",
        ),
        pytest.param({"status": {"podIP": ["1.2.3.4"]}}, {"status": {"podIP": None}}, id="an address that is a list"),
        pytest.param(
            {
                "spec": {
                    "containers": [
                        {
                            "name": "c0",
                            "image": "i",
                            "resources": {"limits": 5},
                            "env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
                        }
                    ]
                }
            },
            {"spec": {"containers": [{"name": "c0", "image": "i"}]}},
            id="limits that are a number",
        ),
    ],
)
async def test_the_other_pods_run_and_the_repaired_one_does(tmp_path, monkeypatch, change, repair):
    """A stored pod that no rule has seen concerns itself; put right, it runs as the others do."""
    async with daemon(tmp_path, monkeypatch) as lab:
        lab.put(PODS, merge(pod("bad", {"image": "i"}), change))
        await lab.client.create(PODS, pod("good", {"image": "i"}))
        await lab.runs("good")
        stored = lab.store.get(PODS, "default", "bad")
        assert stored is not None
        lab.store.put(PODS, merge(stored.copy(), repair))
        await lab.runs("good", "bad")

    assert lab.kubelet.notes() == []


async def test_a_full_name_that_is_too_long_keeps_the_sandbox_from_being_made(tmp_path, monkeypatch):
    """The pod stays ContainerCreating with kubelet's Event; `up` waits for nothing, and it can be deleted (finding 15)."""
    long = {"hostname": "h" * 40, "subdomain": "tier", "setHostnameAsFQDN": True}
    words = (
        f"Failed to construct FQDN from Pod hostname and cluster domain, FQDN {'h' * 40}.tier.default.svc.cluster.local"
        " is too long (64 characters is the max, 71 characters requested)"
    )
    async with daemon(tmp_path, monkeypatch) as lab:
        await lab.client.create(PODS, pod("bad", {"image": "i"}, **long))
        await lab.client.create(PODS, pod("good", {"image": "i"}))
        await settled(lab, "good")
        await lab.runs("good")
        body = await lab.client.get(PODS, "bad")
        events, notes = await lab.events("bad"), lab.kubelet.notes()
        await lab.client.delete(PODS, "bad")
        await settled(lab, "good")

    assert events == {f"FailedCreatePodSandBox: Failed to create pod sandbox: {words}"}
    assert notes == [f"Pod default/bad: FailedCreatePodSandBox: {words}"]
    assert body["status"]["phase"] == "Pending"
    assert body["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
    assert "podIP" not in body["status"]


async def test_a_worker_that_breaks_is_told_and_tried_again(tmp_path, monkeypatch, caplog):
    """Its pod has an Event with kubelet's word and a note for `up`, which does not wait for it; then it recovers."""
    advance = PodWorker.advance
    broken = {"bad"}

    def breaks(self: PodWorker) -> None:
        if self.pod.metadata.name in broken:
            raise KeyError("worker")
        advance(self)

    monkeypatch.setattr(PodWorker, "advance", breaks)
    async with daemon(tmp_path, monkeypatch) as lab:
        await lab.client.create(PODS, pod("bad", {"image": "i"}))
        await lab.client.create(PODS, pod("good", {"image": "i"}))
        await lab.runs("good")

        async def told() -> bool:
            return bool(await lab.events("bad"))

        await until(lab, told)
        events, notes = await lab.events("bad"), lab.kubelet.notes()
        settled = [words for words in lab.kubelet.settled() if "bad" in words]
        broken.clear()
        await lab.runs("bad")
        after = lab.kubelet.notes()
    lines = [r for r in caplog.records if "pod=default/bad state=failed" in r.getMessage()]

    assert events == {"FailedSync: Error syncing pod, retrying: internal error: KeyError: 'worker'"}
    assert (notes, settled, after) == (["Pod default/bad: internal error: KeyError: 'worker'"], [], [])
    assert len(lines) == 1


async def test_a_container_that_cannot_be_made_has_kubelets_event(tmp_path, monkeypatch):
    """A Secret's byte is CreateContainerError for its pod alone, with an Event; with the Secret put right it runs at once."""
    async with daemon(tmp_path, monkeypatch) as lab:
        await lab.client.create(SECRETS, {"metadata": {"name": "bytes"}, "data": {"KEY": "/w=="}})
        env = [{"secretRef": {"name": "bytes"}}]
        await lab.client.create(PODS, pod("bad", {"image": "i", "envFrom": env}))
        await lab.client.create(PODS, pod("good", {"image": "i"}))
        await lab.runs("good")

        async def told() -> bool:
            return bool(await lab.events("bad")) and not lab.kubelet.settled()

        await until(lab, told)
        body, events, notes = await lab.client.get(PODS, "bad"), await lab.events("bad"), lab.kubelet.notes()
        await lab.client.patch(SECRETS, "bytes", {"data": {"KEY": "YQ=="}})
        await lab.runs("bad")
    words = "environment variable KEY: the value is not valid UTF-8; store it encoded, for example as base64"

    assert body["status"]["containerStatuses"][0]["state"]["waiting"] == {"reason": "CreateContainerError", "message": words}
    assert events == {f"Failed: Error: {words}"}
    assert notes == [f"Pod default/bad: container c0: CreateContainerError: {words}."]


async def test_a_start_that_breaks_is_that_containers(tmp_path, monkeypatch):
    """What the runtime raises on a start keeps the others from nothing."""

    def breaks(run: Run) -> None:
        if run.pod.metadata.name == "bad":
            raise TypeError("an unexpected error")

    async with daemon(tmp_path, monkeypatch) as lab:
        works, lab.runtime.on_start = lab.runtime.on_start, breaks
        await lab.client.create(PODS, pod("bad", {"image": "i"}))
        await lab.client.create(PODS, pod("good", {"image": "i"}))
        await lab.runs("good")
        lab.runtime.on_start = works
        await lab.runs("bad")


@pytest.mark.parametrize(
    ("resource", "body"),
    [
        pytest.param(LEASES, {"metadata": {"name": "n", "namespace": "kube-node-lease"}, "spec": {"renewTime": {}}}, id="lease"),
        pytest.param(SERVICES, {"metadata": {"name": "web"}, "spec": {"ports": "eighty"}}, id="service"),
        pytest.param(SECRETS, {"metadata": {"name": "s"}, "data": []}, id="secret"),
        pytest.param(NODES, {"metadata": {"name": "node9", "namespace": ""}, "status": {"addresses": {"a": "b"}}}, id="node"),
    ],
)
async def test_an_object_that_does_not_decode_is_a_note(tmp_path, monkeypatch, resource, body):
    """Pods run without it, and `up` names it."""
    async with daemon(tmp_path, monkeypatch) as lab:
        lab.put(resource, body)
        await lab.client.create(PODS, pod("good", {"image": "i"}))
        await lab.runs("good")
        (note,) = lab.kubelet.notes()

    assert note.startswith(f"{resource.kind} ")
    assert "cannot be read" in note


async def test_lease_of_5000_digits_does_not_stop_deletions(tmp_path, monkeypatch):
    """A Lease that says it is at a version of 5,000 digits says nothing, and a deleted pod goes when its grace is over."""
    async with daemon(tmp_path, monkeypatch) as lab:
        annotations = {"netlab/synced": f'{{"endpointslices": "{HUGE}"}}'}
        lab.put(LEASES, {"metadata": {"name": "node1", "namespace": "kube-node-lease", "annotations": annotations}})
        await lab.client.create(PODS, pod("leaves", {"image": "i"}))
        await lab.client.create(PODS, pod("stays", {"image": "i"}))
        await lab.runs("leaves", "stays")
        await lab.client.delete(PODS, "leaves", grace_period_seconds=1)

        async def gone() -> bool:
            return lab.store.get(PODS, "default", "leaves") is None

        await until(lab, gone)
        await lab.runs("stays")


async def test_news_that_makes_no_sense_breaks_nothing(tmp_path, monkeypatch):
    """The runtime's listener never raises into the runtime."""
    async with daemon(tmp_path, monkeypatch) as lab:
        await lab.client.create(PODS, pod("good", {"image": "i"}))
        await lab.runs("good")
        uid = (await lab.client.get(PODS, "good"))["metadata"]["uid"]
        for news in (None, Began("x"), Refused(RunKey(uid, "other", 0), "", ""), Ended(RunKey(uid, "c0", HUGE), None)):  # type: ignore[arg-type]
            lab.kubelet._hear(news)
        await lab.client.create(PODS, pod("next", {"image": "i"}))
        await lab.runs("good", "next")
