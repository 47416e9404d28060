"""Pods as containers, with a kubelet and the machine's engine, in a node that is a bare namespace."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import os
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from kubeletdriver import kubelet_of, pod, settled, until, vanished

from netlab.api.resources import NODES, PODS
from netlab.controlplane.api import Api
from netlab.controlplane.local import LocalClient
from netlab.controlplane.store import Store
from netlab.dataplane.names import namespace_path
from netlab.engine.protocol import LAB_LABEL, Container
from netlab.kernel import mounts
from netlab.kernel.linux import LinuxKernel
from netlab.node.kubelet.kubelet import Kubelet
from netlab.node.pods.docker.pods import DockerPods
from netlab.process.podfiles import ETC_SIZE
from netlab.state import StateDirectory

LAB = f"ntpods{os.getpid()}"
NODE_PATH = namespace_path(f"{LAB}-node1")
KERNEL = LinuxKernel()
PATIENCE = 60.0  # seconds for a command or an answer
OWN_IMAGE = f"{LAB}-own:1"
OWN_DOCKERFILE = """
FROM {base}
LABEL made.by=somebody
USER 1234
WORKDIR /tmp
ENV GREETING=hello
STOPSIGNAL SIGINT
ENTRYPOINT ["python3", "-c", "import http.server as h; h.HTTPServer(('', 8000), h.SimpleHTTPRequestHandler).serve_forever()"]
"""


@dataclass
class Daemon:
    """What of a daemon the kubelet needs."""

    client: LocalClient
    kubelet: Kubelet
    task: asyncio.Task[None]
    deadline: float = 90.0

    async def crash(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def state(tmp_path, docker_engine):
    state = StateDirectory(LAB, tmp_path / LAB)
    state.create()
    KERNEL.create_namespaces([NODE_PATH])
    yield state
    docker_engine.remove([container.id for container in mine(docker_engine)])
    KERNEL.delete_namespaces([namespace_path(p.name) for p in state.namespaces.iterdir()] + [NODE_PATH])
    mounts.unmount_below(state.root)


def mine(engine) -> list[Container]:
    return engine.containers({LAB_LABEL: LAB})


@pytest.fixture
async def lab(state, docker_engine, image_tags) -> AsyncIterator[Any]:
    store = Store.open(state.store)
    client = LocalClient(Api(store))
    node = {
        "metadata": {"name": "node1"},
        "spec": {"podCIDR": "10.244.1.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.30.1.1"}]},
    }
    await client.create(NODES, node)
    daemons: list[Daemon] = []

    def start() -> Daemon:
        runtime = DockerPods(
            engine=docker_engine,
            kernel=KERNEL,
            state=state,
            domain="cluster.local",
            workloads=image_tags["workloads"],
            limit=partial(mounts.limit, size=ETC_SIZE),
        )
        kubelet = kubelet_of(client, KERNEL, runtime, state)
        daemons.append(Daemon(client, kubelet, asyncio.create_task(kubelet.run())))
        return daemons[-1]

    yield start
    for daemon in daemons:
        await daemon.crash()
    store.close()


def get(address: str, path: str = "/", port: int = 80) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
    with KERNEL.inside(NODE_PATH), contextlib.closing(connection):
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()


async def test_a_pod_is_containers_in_one_network(lab, docker_engine):
    """A built-in workload and a command share the pod's address, files and name; the first serves without any privilege."""
    daemon = lab()
    tools = {
        "image": "busybox",
        "command": ["sh", "-c", "echo $GREETING; sleep 600"],
        "env": [{"name": "GREETING", "value": "hi"}],
    }
    await daemon.client.create(PODS, pod("blue-1", {"image": "jpetazzo/color"}, tools))
    (blue,) = await settled(daemon, "blue-1")
    status, headers, _ = await asyncio.to_thread(get, blue["status"]["podIP"])
    command = next(c for c in mine(docker_engine) if c.name.endswith("_c1_0"))
    script = "cat /etc/hosts; hostname; id -u; curl -s 127.0.0.1/?format=json"
    _, said = docker_engine.run(command.id, ["sh", "-c", script], PATIENCE)
    await until(daemon, lambda: asyncio.to_thread(docker_engine.logs, command.id))  # that it began says nothing of its words

    assert (status, headers["X-Netlab-Pod"]) == (200, "blue-1")
    assert "10.244.1.2\tblue-1\n" in said
    assert "\nblue-1\n0\n" in said
    assert '"client": "127.0.0.1' in said
    assert blue["status"]["containerStatuses"][1]["containerID"] == f"docker://{command.id}"
    assert docker_engine.logs(command.id) == "hi\n"


async def test_a_users_image_runs_as_it_was_made(request, lab, docker_engine, image_tags):
    """An image with entrypoint, user, folder and environment of its own serves, its root read-only; it ends by its own signal."""
    build(docker_engine, OWN_DOCKERFILE.format(base=image_tags["workloads"]))
    request.addfinalizer(lambda: docker_engine.remove_image(OWN_IMAGE))
    daemon = lab()
    own = {
        "image": OWN_IMAGE,
        "env": [{"name": "OWN", "value": "own"}, {"name": "ADDED", "value": "$(OWN)"}],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "securityContext": {"readOnlyRootFilesystem": True, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
    }
    await daemon.client.create(PODS, pod("own", own, terminationGracePeriodSeconds=600))  # more than it is waited for
    (body,) = await settled(daemon, "own")
    status, _, _ = await asyncio.to_thread(get, body["status"]["podIP"], "/", 8000)
    (container,) = [c for c in mine(docker_engine) if c.name.endswith("_c0_0")]
    # One stream: two may arrive in any order.
    script = "id -u; pwd; echo $GREETING $ADDED; touch x 2>&1; grep CapBnd /proc/self/status"
    _, said = docker_engine.run(container.id, ["sh", "-c", script], PATIENCE)
    await daemon.client.delete(PODS, "own")
    await until(daemon, lambda: vanished(daemon, "own"))

    assert (status, said.splitlines()[:3], container.stop_signal) == (200, ["1234", "/tmp", "hello own"], "SIGINT")
    assert "Read-only file system" in said
    assert "CapBnd:\t0000000000000000" in said


# The limits of the container's own group, as the kernel has them: version 2 of control groups, else version 1.
LIMITS = (
    "cd /sys/fs/cgroup; cat pids.max 2>/dev/null || cat pids/pids.max;"
    " cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status"
)


async def test_what_a_pod_may_take_and_do(lab, docker_engine, image_tags):
    """A container has 1024 processes at most and its limit of memory; its capabilities are what the manifest makes of them."""
    daemon = lab()
    spec = {
        "image": image_tags["workloads"],
        "command": ["sleep", "infinity"],
        "resources": {"limits": {"memory": "64Mi"}},
        "securityContext": {"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "allowPrivilegeEscalation": False},
    }
    await daemon.client.create(PODS, pod("small", spec))
    await settled(daemon, "small")
    (container,) = [c for c in mine(docker_engine) if c.name.endswith("_c0_0")]
    _, said = docker_engine.run(container.id, ["sh", "-c", LIMITS], PATIENCE)

    assert ["1024", str(64 * 2**20)] == said.splitlines()[:2]
    assert {"CapBnd:\t0000000000001000", "NoNewPrivs:\t1", "Seccomp:\t2"} <= set(said.splitlines())


def build(engine, dockerfile: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile.encode())
        tar.addfile(entry, io.BytesIO(dockerfile.encode()))
    engine.build(packed.getvalue(), OWN_IMAGE, {})


@pytest.mark.parametrize(
    ("image", "policy", "reason"),
    [
        ("registry.invalid/none:1", "IfNotPresent", "ErrImagePull"),
        ("registry.invalid/none:1", "Never", "ErrImageNeverPull"),
        ("netlab/echo", "Always", "ErrImagePull"),
    ],
)
async def test_an_image_that_cannot_be_had(lab, image, policy, reason):
    """A container without image waits with Kubernetes' reason, and the user is told what to do."""
    daemon = lab()
    await daemon.client.create(PODS, pod("lost", {"image": image, "imagePullPolicy": policy}))

    async def told() -> bool:
        body = await daemon.client.get(PODS, "lost")
        return reason in str(body["status"].get("containerStatuses"))

    await until(daemon, told)

    assert reason in daemon.kubelet.notes()[0]
    assert "docker build -t" in daemon.kubelet.notes()[0]


async def test_a_program_that_cannot_run_crash_loops(lab):
    """A command that the image does not have ends with code 128 and is tried again with back-off, as on a cluster."""
    daemon = lab()
    await daemon.client.create(PODS, pod("bad", {"image": "busybox", "command": ["/no/such/program"]}))

    async def looping() -> bool:
        body = await daemon.client.get(PODS, "bad")
        return "CrashLoopBackOff" in str(body["status"])

    await until(daemon, looping)
    body = await daemon.client.get(PODS, "bad")

    assert body["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 128


@pytest.mark.parametrize(("command", "ready"), [(["true"], "True"), (["false"], "False"), (["sleep", "30"], "False")])
async def test_exec_probe(lab, command, ready):
    """An exec probe runs in the container; its exit code decides, and its timeout counts as failure."""
    probe = {"exec": {"command": command}, "periodSeconds": 1, "failureThreshold": 1}
    daemon = lab()
    await daemon.client.create(PODS, pod("e", {"image": "registry.k8s.io/pause", "readinessProbe": probe}))
    (body,) = await settled(daemon, "e")

    assert next(c["status"] for c in body["status"]["conditions"] if c["type"] == "Ready") == ready


async def test_a_new_daemon_adopts_what_runs(lab, docker_engine):
    """After the daemon's death containers run on; the next takes them over, and knows how others ended."""
    daemon = lab()
    ends = {"image": "busybox", "command": ["sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.1; done; exit 7"]}
    await daemon.client.create(PODS, pod("kept", {"image": "nginx"}, {"image": "busybox", "command": ["sleep", "600"]}, ends))
    (before,) = await settled(daemon, "kept")
    running = {c.name: c.id for c in mine(docker_engine)}
    await daemon.crash()
    docker_engine.run(running[f"netlab_{LAB}_default_kept_c2_0"], ["touch", "/tmp/end"], PATIENCE)
    await until(lab_of(daemon), lambda: asyncio.to_thread(ended, docker_engine, running[f"netlab_{LAB}_default_kept_c2_0"]))
    again = lab()

    async def restarted() -> bool:
        body = await again.client.get(PODS, "kept")
        return body["status"]["containerStatuses"][2]["restartCount"] == 1 and not again.kubelet.settled()

    await until(again, restarted)
    after = await again.client.get(PODS, "kept")
    served = (await asyncio.to_thread(get, after["status"]["podIP"]))[0]
    names = [f"netlab_{LAB}_default_kept", *(f"netlab_{LAB}_default_kept_{c}" for c in ("c0_0", "c1_0", "c2_1"))]
    await until(again, lambda: asyncio.to_thread(lambda: [c.name for c in mine(docker_engine)] == names))  # the old run goes, too

    assert before["status"]["podIP"] == after["status"]["podIP"]
    assert [s["containerID"] for s in after["status"]["containerStatuses"]][:2] == [
        s["containerID"] for s in before["status"]["containerStatuses"]
    ][:2]
    assert after["status"]["containerStatuses"][2]["lastState"]["terminated"]["exitCode"] == 7
    assert served == 200


def lab_of(daemon: Daemon) -> Daemon:
    """A daemon whose end is no failure."""
    return Daemon(daemon.client, daemon.kubelet, asyncio.get_running_loop().create_future())


def ended(engine, container: str) -> bool:
    return not next(c for c in mine(engine) if c.id == container).runs


@pytest.mark.parametrize("which", ["c0_0", ""], ids=["container", "holder"])
async def test_removed_containers_come_back(lab, docker_engine, which):
    """`docker rm -f` of a container, or of the one that holds the network: it serves again, at the same address."""
    daemon = lab()
    await daemon.client.create(PODS, pod("hit", {"image": "nginx"}))
    (before,) = await settled(daemon, "hit")
    name = f"netlab_{LAB}_default_hit" + (f"_{which}" if which else "")
    docker_engine.remove([c.id for c in mine(docker_engine) if c.name == name])

    async def back() -> bool:
        body = await daemon.client.get(PODS, "hit")
        return body["status"]["containerStatuses"][0]["restartCount"] == 1 and not daemon.kubelet.settled()

    await until(daemon, back)
    after = await daemon.client.get(PODS, "hit")
    served = (await asyncio.to_thread(get, after["status"]["podIP"]))[0]

    await until(daemon, lambda: asyncio.to_thread(lambda: len(mine(docker_engine)) == 2))  # the old run goes, too

    assert (before["status"]["podIP"], 200) == (after["status"]["podIP"], served)


async def test_deletion_removes_everything(lab, docker_engine, state):
    """A deleted pod leaves no container, namespace, link or object; a server has finished what it served."""
    daemon = lab()
    await daemon.client.create(PODS, pod("gone", {"image": "nginx"}, terminationGracePeriodSeconds=600))
    await settled(daemon, "gone")
    await daemon.client.delete(PODS, "gone")
    await until(daemon, lambda: vanished(daemon, "gone"))  # it does not need its grace

    assert mine(docker_engine) == []
    assert not KERNEL.namespace_exists(namespace_path(f"{LAB}-default-gone"))
    assert list(state.namespaces.iterdir()) == []
