"""The images as the engine has them: what is in them, as whom they run, how big they are, and what a change costs."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

import pytest

from netlab.engine.client import DockerEngine
from netlab.engine.protocol import LAB_LABEL, Container, ContainerSpec
from netlab.images import images
from netlab.images.base import BASE

PATIENCE = 60.0  # seconds for a command in a container
LARGEST = 200_000_000  # bytes on top of the base
AS_ROOT = ("node", "edge")  # only root is given capabilities
KEPT = ("keep", "sleep", "infinity")
ORPHAN = "orphan=$(sleep 0.1 >/dev/null & echo $!); while [ -e /proc/$orphan ]; do sleep 0.05; done"  # also a zombie is there


class Running:
    """A container of each role, with the engine's network `none` and /etc/hosts, without capabilities, that waits."""

    def __init__(self, engine: DockerEngine, containers: Mapping[str, Container]) -> None:
        self.engine = engine
        self.containers = containers

    def run(self, role: str, *argv: str) -> tuple[int, str]:
        """Run a command and return its exit code and what it said."""
        return self.engine.run(self.containers[role].id, argv, PATIENCE)


@pytest.fixture(scope="module")
def running(docker_engine: DockerEngine, image_tags: Mapping[str, str]) -> Iterator[Running]:
    """A container of each role."""
    lab = f"nlt-{secrets.token_hex(4)}"
    specs = [
        ContainerSpec(f"{lab}-{role}", image_tags[role], {LAB_LABEL: lab}, entrypoint=KEPT[:1], command=KEPT[1:], network="none")
        for role in images.ROLES
    ]
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: docker_engine.remove([one.id for one in docker_engine.containers({LAB_LABEL: lab})]))
        yield Running(docker_engine, dict(zip(images.ROLES, docker_engine.start(specs), strict=True)))


@pytest.mark.parametrize("role", images.ROLES)
def test_labels_and_size(docker_engine: DockerEngine, image_tags: Mapping[str, str], role: str) -> None:
    """An image says what it is and of which content, and is not bigger than it may be."""
    sizes = {tag: image.size for image in docker_engine.find_images({}) for tag in image.tags}
    labels = docker_engine.image_labels(image_tags[role])

    assert (role, image_tags[role].partition(":")[2]) == (labels["netlab/role"], labels["netlab/content"][:12])
    assert labels.keys() >= {f"org.opencontainers.image.{name}" for name in ("title", "description", "licenses", "version")}
    assert sizes[image_tags[role]] - sizes[BASE] < LARGEST


@pytest.mark.parametrize("role", images.ROLES)
def test_as_whom_it_runs(running: Running, role: str) -> None:
    """Node and edge are root, clients and workloads nobody."""
    assert (0, "0\n" if role in AS_ROOT else "65534\n") == running.run(role, "id", "-u")


@pytest.mark.parametrize(
    ("role", "argv"),
    [
        *((role, ("ping", "-c", "1", "-W", "2", "127.0.0.1")) for role in images.ROLES),
        *((role, ("curl", "--version")) for role in images.ROLES),
        *((role, ("ip", "-brief", "address")) for role in images.ROLES),
        *((role, ("getent", "hosts", "localhost")) for role in images.ROLES),
        *((role, ("nft", "--version")) for role in AS_ROOT),
        *((role, ("conntrack", "--version")) for role in AS_ROOT),
        *((role, ("sysctl", "net.ipv4.ip_forward")) for role in AS_ROOT),
        *((role, ("bridge", "link")) for role in AS_ROOT),
        *((role, ("tcpdump", "--version")) for role in (*AS_ROOT, "client")),
        ("client", ("dig", "-v")),
        ("node", ("python3", "-c", "import netlab.node.agent.agent, netlab.hosts.startup")),
        ("edge", ("python3", "-c", "import netlab.edge.main, netlab.hosts.startup")),
        ("workloads", ("python3", "-c", "import netlab.workloads.container")),
        ("workloads", ("sh", "-c", "while true; do curl -s http://127.0.0.1:1/ || sleep 0; break; done")),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:1]),
)
def test_what_is_in_it(running: Running, role: str, argv: Sequence[str]) -> None:
    """What lessons and agents call is there, and works without any capability."""
    code, said = running.run(role, *argv)

    assert 0 == code, said


@pytest.mark.parametrize("role", [*AS_ROOT, "workloads"])
def test_modules_are_compiled(running: Running, role: str) -> None:
    """Nothing of Python is compiled when a container starts, and nothing of the machine's only is in the image."""
    script = "import netlab, os; os.stat(netlab.__cached__); print(os.listdir(netlab.__path__[0]))"
    code, said = running.run(role, "python3", "-c", script)

    assert 0 == code, said
    assert "'node'" in said
    assert "'cli'" not in said


def test_the_first_process_keeps_and_ends(docker_engine: DockerEngine, image_tags: Mapping[str, str]) -> None:
    """A client waits as process 1 of its container, which leaves no orphan a zombie and ends at once when it is told to."""
    lab = f"nlt-{secrets.token_hex(4)}"
    [client] = docker_engine.start([ContainerSpec(f"{lab}-client", image_tags["client"], {LAB_LABEL: lab})])
    try:
        code, _ = docker_engine.run(client.id, ["sh", "-c", ORPHAN], PATIENCE)
        docker_engine.signal([client.id], "SIGTERM")
        ended = docker_engine._client.wait(client.id, timeout=PATIENCE)["StatusCode"]
    finally:
        docker_engine.remove([client.id])

    assert (0, 143) == (code, ended)


def test_nothing_is_built_again(docker_engine: DockerEngine, image_tags: Mapping[str, str]) -> None:
    """When all images are there, nothing is said and the same tags are returned."""
    said: list[str] = []

    assert (image_tags, []) == (images.ensure(docker_engine, said.append), said)


def test_the_verbs(image_tags: Mapping[str, str]) -> None:
    """`netlab images build` prints the tags, `list` says that they are there."""

    def netlab(*words: str) -> str:
        return subprocess.run([sys.executable, "-m", "netlab", *words], capture_output=True, text=True, check=True).stdout

    assert sorted(image_tags.values()) == sorted(netlab("images", "build").split())

    listed = {row["role"]: row for row in json.loads(netlab("images", "list", "-f", "json")) if row["state"] == "present"}

    assert dict(image_tags) == {role: listed[role]["image"] for role in images.ROLES}
