from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from kubeletdriver import kubelet_of, pod, settled, start_workloads, until, vanished

from netlab.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, LEASES, NODES, PODS, SERVICES
from netlab.api.times import micro_timestamp
from netlab.controlplane.api import Api
from netlab.controlplane.local import LocalClient
from netlab.controlplane.loop import RoundTimes
from netlab.controlplane.store import Store
from netlab.dataplane.names import namespace_path
from netlab.dataplane.state import Link, Operation, Verb
from netlab.kernel import mounts
from netlab.kernel.linux import LinuxKernel
from netlab.node.kubelet.kubelet import Kubelet
from netlab.node.pods.netns.pods import NetnsPods
from netlab.process import records
from netlab.process.enter import execute
from netlab.process.log_files import read_log
from netlab.process.podfiles import PodFiles
from netlab.process.spawner import Spawner
from netlab.state import StateDirectory
from netlab.workloads import program

pytestmark = pytest.mark.netns

LAB = f"ntkube{os.getpid()}"
NODE_PATH = namespace_path(f"{LAB}-node1")
KERNEL = LinuxKernel()
PATIENCE = 10  # seconds for what must come


@dataclass
class Daemon:
    """What of a daemon the kubelet needs; `crash` leaves everything as kill -9 would."""

    client: LocalClient
    kubelet: Kubelet
    spawner: Spawner
    task: asyncio.Task[None]
    deadline: float = 30.0

    async def crash(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.spawner.close()


@pytest.fixture
def state(tmp_path):
    state = StateDirectory(LAB, tmp_path / LAB)
    state.create()
    KERNEL.create_namespaces([NODE_PATH])
    yield state
    records.stop(records.read_records(state), 2)
    KERNEL.delete_namespaces([namespace_path(p.name) for p in state.namespaces.iterdir()] + [NODE_PATH])
    mounts.unmount_below(state.root)


async def start(state: StateDirectory, client: LocalClient, **options: Any) -> Daemon:
    spawner = Spawner.start(state, {"workloads": program.main})
    runtime = NetnsPods(KERNEL, spawner, state)
    kubelet = kubelet_of(client, KERNEL, runtime, state, **options)
    spawner.attach()
    if spawner.adopt("workloads-node1", NODE_PATH) is None:
        await start_workloads(state, spawner, NODE_PATH)
    return Daemon(client, kubelet, spawner, asyncio.create_task(kubelet.run()))


@contextlib.asynccontextmanager
async def lab(state: StateDirectory, **options: Any) -> AsyncIterator[Daemon]:
    store = Store.open(state.store)
    client = LocalClient(Api(store))
    node = {
        "metadata": {"name": "node1"},
        "spec": {"podCIDR": "10.244.1.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.30.1.1"}]},
    }
    await client.create(NODES, node)
    daemon = await start(state, client, **options)
    try:
        yield daemon
    finally:
        if not daemon.task.done():
            await daemon.crash()
        store.close()


def get(address: str, path: str = "/", port: int = 80, method: str = "GET") -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
    with KERNEL.inside(NODE_PATH), contextlib.closing(connection):
        connection.request(method, path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()


def condition(body: dict[str, Any], kind: str) -> str:
    return next(c["status"] for c in body["status"]["conditions"] if c["type"] == kind)


async def test_builtin_pod_serves_and_names_the_client(state):
    """A pod of a built-in image becomes Running and Ready, answers from its own address and reports the client's."""
    async with lab(state) as daemon:
        await daemon.client.create(PODS, pod("blue-1", {"image": "jpetazzo/color"}))
        (blue,) = await settled(daemon, "blue-1")
        status, headers, body = await asyncio.to_thread(get, blue["status"]["podIP"])

    assert (blue["status"]["phase"], blue["status"]["podIP"], blue["status"]["hostIP"]) == ("Running", "10.244.1.2", "172.30.1.1")
    assert [condition(blue, kind) for kind in ("Ready", "ContainersReady", "Initialized")] == ["True"] * 3
    assert (status, headers["X-Netlab-Pod"]) == (200, "blue-1")
    assert headers["X-Netlab-Client"].startswith("10.244.1.1:")
    assert json.loads(body)["color"] == "blue"


async def test_command_sees_the_pods_files(state):
    """A plain command has the pod's resolv.conf, hosts, hostname, environment; its end completes the pod."""
    script = "hostname; grep -c 10.96.0.10 /etc/resolv.conf; tail -1 /etc/hosts; echo $GREETING $WHO; exit 0"
    env = [
        {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "GREETING", "value": "hello $(WHO)"},
    ]
    async with lab(state) as daemon:
        body = pod("job", {"image": "busybox", "command": ["sh", "-c", script], "env": env}, restartPolicy="Never")
        await daemon.client.create(PODS, body)
        await until(daemon, lambda: phase_is(daemon, "job", "Succeeded"))
        (job,) = await settled(daemon, "job")
        path = PodFiles(state.pod(job["metadata"]["uid"])).log("c0")

        async def written():  # the log keeper does it
            return bool(read_log(path))

        await until(daemon, written)
    log = read_log(path).splitlines()

    assert condition(job, "Ready") == "False"
    assert log == ["job", "1", "10.244.1.2\tjob", "hello job job"]


async def phase_is(daemon: Daemon, name: str, phase: str) -> bool:
    return (await daemon.client.get(PODS, name))["status"].get("phase") == phase


async def test_crash_loop_backs_off(state):
    """A command that fails is started again at once, then waits with Kubernetes' words."""
    async with lab(state) as daemon:
        await daemon.client.create(PODS, pod("bad", {"image": "x", "command": ["sh", "-c", "exit 3"]}))
        await until(daemon, lambda: crash_looping(daemon))
        notes = daemon.kubelet.notes()
        bad = await daemon.client.get(PODS, "bad")
    container = bad["status"]["containerStatuses"][0]

    assert container["restartCount"] == 1
    assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert "back-off 10s restarting failed container=c0 pod=bad_default(" in notes[0]


async def crash_looping(daemon: Daemon) -> bool:
    body = await daemon.client.get(PODS, "bad")
    statuses = body["status"].get("containerStatuses", [{}])
    return statuses[0].get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"


async def test_readiness_follows_the_probe(state):
    """A failing httpGet probe makes the pod unready without a restart; when it passes again the pod is ready."""
    probe = {"httpGet": {"path": "/ready", "port": "web"}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": PATIENCE}
    container = {
        "image": "gcr.io/kuar-demo/kuard-amd64:1",
        "readinessProbe": probe,
        "ports": [{"name": "web", "containerPort": 8080}],
    }

    async def ready_is(word: str) -> bool:
        return condition(await daemon.client.get(PODS, "k"), "Ready") == word

    async with lab(state) as daemon:
        await daemon.client.create(PODS, pod("k", container))
        (body,) = await settled(daemon, "k")
        first = condition(body, "Ready")
        await asyncio.to_thread(get, body["status"]["podIP"], "/ready/api/fail", 8080, "POST")
        await until(daemon, lambda: ready_is("False"))
        await asyncio.to_thread(get, body["status"]["podIP"], "/ready/api/ok", 8080, "POST")
        await until(daemon, lambda: ready_is("True"))
        body = await daemon.client.get(PODS, "k")

    assert (first, body["status"]["containerStatuses"][0]["restartCount"]) == ("True", 0)


EXEC_PROBES = [(["true"], PATIENCE, "True"), (["false"], PATIENCE, "False"), (["sleep", "600"], 1, "False")]


@pytest.mark.parametrize(("command", "limit", "ready"), EXEC_PROBES, ids=[row[0][0] for row in EXEC_PROBES])
async def test_exec_probe(state, command, limit, ready):
    """An exec probe runs in the container; its exit code decides, and its timeout counts as failure."""
    probe = {"exec": {"command": command}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": limit}
    async with lab(state) as daemon:
        await daemon.client.create(PODS, pod("e", {"image": "registry.k8s.io/pause", "readinessProbe": probe}))
        (body,) = await settled(daemon, "e")

    assert condition(body, "Ready") == ready


async def test_two_containers_on_one_port_clash(state):
    """Containers of a pod share one namespace: the second server on a port fails as it would on a cluster."""
    async with lab(state) as daemon:
        await daemon.client.create(PODS, pod("twice", {"image": "nginx"}, {"image": "jpetazzo/color"}))
        await until(daemon, lambda: asyncio.sleep(0, bool(daemon.kubelet.notes())))
        (body,) = await settled(daemon, "twice")
        notes = daemon.kubelet.notes()

    assert [c["ready"] for c in body["status"]["containerStatuses"]] == [True, False]
    assert "bind 80/TCP: Address already in use" in notes[0]


async def test_init_containers_run_first_and_config_is_awaited(state):
    """Init containers complete in order before the others start; a missing ConfigMap is waited for."""
    init = [{"name": f"init{i}", "image": "x", "command": ["sh", "-c", f"echo {i} >> {state.root}/order"]} for i in (1, 2)]
    reference = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}
    main = {"image": "x", "command": ["sh", "-c", f"echo $A >> {state.root}/order; sleep 60"], "env": [reference]}
    async with lab(state) as daemon:
        await daemon.client.create(PODS, pod("staged", main, initContainers=init))
        await until(daemon, lambda: asyncio.sleep(0, bool(daemon.kubelet.notes())))
        notes = daemon.kubelet.notes()
        await daemon.client.create(CONFIG_MAPS, {"metadata": {"name": "settings"}, "data": {"a": "main"}})
        await until(daemon, lambda: asyncio.sleep(0, (state.root / "order").read_text().count("main") == 1))
        (body,) = await settled(daemon, "staged")

    assert 'CreateContainerConfigError: configmap "settings" not found' in notes[0]
    assert (state.root / "order").read_text().split() == ["1", "2", "main"]
    assert condition(body, "Initialized") == "True"


async def test_deletion_removes_everything(state):
    """A deleted pod is drained, stopped, and leaves no namespace, link, process or object; its address is not re-used."""
    async with lab(state) as daemon:
        await daemon.client.create(PODS, pod("gone", {"image": "nginx"}, {"image": "x", "command": ["sleep", "600"]}))
        (body,) = await settled(daemon, "gone")
        await daemon.client.delete(PODS, "gone")
        await until(daemon, lambda: vanished(daemon, "gone"))
        await until(daemon, lambda: asyncio.to_thread(no_ports))
        left = [r.name for r in records.read_records(state)]
        await daemon.client.create(PODS, pod("next", {"image": "nginx"}))
        (after,) = await settled(daemon, "next")

    assert left == ["log-keeper", "workloads-node1"]
    assert not KERNEL.namespace_exists(namespace_path(f"{LAB}-default-gone"))
    assert (body["status"]["podIP"], after["status"]["podIP"]) == ("10.244.1.2", "10.244.1.3")


def no_ports() -> bool:
    """The kernel takes a dead namespace's links away in the background."""
    return not any(link.name.startswith("veth") for link in KERNEL.observe(NODE_PATH).links)


async def test_new_daemon_adopts_what_runs(state):
    """After the daemon's death pods serve on; the next daemon takes them over without a restart or a new address."""
    async with lab(state) as daemon:
        await daemon.client.create(PODS, pod("kept", {"image": "nginx"}, {"image": "x", "command": ["sleep", "600"]}))
        (before,) = await settled(daemon, "kept")
        command = next(r for r in records.read_records(state) if r.name.startswith("container-"))
        await daemon.crash()
        served = (await asyncio.to_thread(get, before["status"]["podIP"]))[0]
        again = await start(state, daemon.client)
        (after,) = await settled(again, "kept")
        still = records.is_alive(command)
        version_before, version_after = (b["metadata"]["resourceVersion"] for b in (before, after))
        os.kill(command.pid, signal.SIGKILL)  # adopted: its end is noticed
        await until(again, lambda: restarted(again, "kept"))
        await again.crash()

    assert (served, still) == (200, True)
    assert version_before == version_after


async def restarted(daemon: Daemon, name: str) -> bool:
    body = await daemon.client.get(PODS, name)
    return body["status"]["containerStatuses"][1]["restartCount"] == 1 and not daemon.kubelet.settled()


async def test_killed_workloads_process_comes_back(state):
    """After kill -9 of a node's workloads process its successor is told what to serve."""
    async with lab(state) as daemon:
        await daemon.client.create(PODS, pod("web", {"image": "nginx"}))
        (body,) = await settled(daemon, "web")
        records.stop([records.read_record(state, "workloads-node1")], 0)
        await start_workloads(state, daemon.spawner, NODE_PATH)
        await until(daemon, lambda: asyncio.to_thread(reachable, body["status"]["podIP"]))


async def test_load_sees_no_failure_while_a_pod_leaves(state):
    """New connections during a pod's whole termination are served until the very end of its address."""
    grace = {"terminationGracePeriodSeconds": 600}
    async with lab(state) as daemon:
        lease = {"metadata": {"name": "node1", "namespace": "kube-node-lease"}}
        await daemon.client.create(LEASES, {**lease, "metadata": {**lease["metadata"], "annotations": {"netlab/synced": "{}"}}})
        await daemon.client.create(
            SERVICES, {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
        )
        await daemon.client.create(PODS, pod("web", {"image": "nginx"}, **grace))
        (body,) = await settled(daemon, "web")
        endpoint = {"addresses": [body["status"]["podIP"]], "targetRef": {"uid": body["metadata"]["uid"]}}
        offer = {
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [endpoint],
        }
        await daemon.client.create(ENDPOINT_SLICES, offer)
        await daemon.client.delete(PODS, "web")
        while_offered = await asyncio.to_thread(lambda: [reachable(body["status"]["podIP"]) for _ in range(50)])
        left = {"endpoints": [{**endpoint, "conditions": {"ready": False, "terminating": True}}]}
        after = await daemon.client.patch(ENDPOINT_SLICES, "web-1", left, namespace="default")
        while_behind = await asyncio.to_thread(lambda: [reachable(body["status"]["podIP"]) for _ in range(50)])
        synced = {"netlab/synced": json.dumps({"endpointslices": after["metadata"]["resourceVersion"]})}
        await daemon.client.patch(LEASES, "node1", {"metadata": {"annotations": synced}}, namespace="kube-node-lease")
        await until(daemon, lambda: vanished(daemon, "web"))

    assert (set(while_offered), set(while_behind)) == ({True}, {True})


async def test_resync_repairs_the_sandbox(state):
    """A veth deleted by hand comes back at the next resync, with its hairpin."""
    async with lab(state, round_times=RoundTimes(tick=0.2, resync=0.2)) as daemon:
        await daemon.client.create(PODS, pod("p", {"image": "nginx"}))
        (body,) = await settled(daemon, "p")
        veth = next(link.name for link in KERNEL.observe(NODE_PATH).links if link.name.startswith("veth"))
        KERNEL.perform(NODE_PATH, [Operation(Verb.DELETE, Link(veth))])
        await until(daemon, lambda: asyncio.to_thread(reachable, body["status"]["podIP"]))
        hairpin = next(link.hairpin for link in KERNEL.observe(NODE_PATH).links if link.name == veth)

    assert hairpin is True


def reachable(address: str) -> bool:
    try:
        return get(address)[0] == 200
    except OSError:
        return False


async def test_echo_answers_tcp_udp_and_http(state):
    """netlab/echo echoes on its declared ports and tells UDP clients who answered."""
    ports = [{"containerPort": 7}, {"containerPort": 7, "protocol": "UDP", "name": "udp"}]
    async with lab(state) as daemon:
        await daemon.client.create(PODS, pod("box", {"image": "netlab/echo", "ports": ports}))
        (body,) = await settled(daemon, "box")
        address = body["status"]["podIP"]
        raw, datagram = await asyncio.to_thread(talk, address)
        status, headers, text = await asyncio.to_thread(get, address, "/x", 7)

    assert raw == b"hello\n"
    assert datagram.splitlines()[0] == b"X-Netlab-Pod: box"
    assert datagram.endswith(b"\n\nping")
    assert (status, headers["X-Netlab-Pod"], "GET /x HTTP/1.1" in text) == (200, "box", True)


def talk(address: str) -> tuple[bytes, bytes]:
    with KERNEL.inside(NODE_PATH):
        stream, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with stream, udp:
        stream.settimeout(PATIENCE)
        udp.settimeout(PATIENCE)
        stream.connect((address, 7))
        stream.sendall(b"hello\n")
        udp.sendto(b"ping", (address, 7))
        return stream.recv(100), udp.recv(1000)


async def test_exec_enters_a_pod(state, capfd):
    """`exec` sees the pod's own files and address."""
    async with lab(state) as daemon:
        await daemon.client.create(PODS, pod("inside", {"image": "nginx"}))
        (body,) = await settled(daemon, "inside")
        files = PodFiles(state.pod(body["metadata"]["uid"]))
        code = execute(namespace_path(f"{LAB}-default-inside"), ["sh", "-c", "hostname; hostname -I || true"], {}, files)

    assert code == 0
    assert capfd.readouterr().out.split()[0] == "inside"


async def test_node_becomes_ready_with_its_agent(state):
    """A node is NotReady until its agent's Lease says what it has programmed."""

    async def ready_is(word: str) -> bool:
        body = await daemon.client.get(NODES, "node1")
        return any(c["type"] == "Ready" and c["status"] == word for c in body["status"].get("conditions", ()))

    async with lab(state) as daemon:
        await until(daemon, lambda: ready_is("False"))
        held = (await daemon.client.get(NODES, "node1"))["metadata"]["resourceVersion"]
        synced = {"netlab/synced": f'{{"nodes": "{held}"}}'}
        lease = {"metadata": {"name": "node1", "namespace": "kube-node-lease", "annotations": synced}}
        lease["spec"] = {"renewTime": micro_timestamp(datetime.now(UTC)), "leaseDurationSeconds": 40}
        await daemon.client.create(LEASES, lease)
        await until(daemon, lambda: ready_is("True"))


async def test_host_network_pod_waits_for_its_node(state):
    """A pod on the host's network that came before its node's address starts when the address is known."""
    async with lab(state) as daemon:
        addresses = (await daemon.client.get(NODES, "node1"))["status"]["addresses"]
        await daemon.client.patch(NODES, "node1", {"status": {"addresses": []}}, subresource="status")
        await daemon.client.create(PODS, pod("early", {"image": "traefik/whoami", "args": ["--port=9999"]}, hostNetwork=True))

        async def quiet() -> bool:
            workers = daemon.kubelet._workers.values()
            return bool(workers) and not any(worker.status_pending for worker in workers) and not daemon.kubelet._woken

        await until(daemon, quiet)
        await daemon.client.patch(NODES, "node1", {"status": {"addresses": addresses}}, subresource="status")
        (early,) = await settled(daemon, "early")

        assert addresses[0]["address"] == early["status"]["podIP"]
        assert "True" == condition(early, "Ready")
