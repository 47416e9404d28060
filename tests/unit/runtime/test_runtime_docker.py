"""The words in which the engine is asked, and its refusals in ours."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from netlab.engine.client import DockerEngine
from netlab.engine.codec import container_body, failure_of, moment, remedy
from netlab.engine.protocol import ContainerSpec, Mount
from netlab.errors import EngineError, UnsupportedHostError


def test_a_container_without_wishes_has_nothing_it_could_misuse() -> None:
    """By default: no network, no capability, no way to more privileges, entrypoint and command of the image."""
    assert container_body(ContainerSpec("c", "image:1")) == {
        "Image": "image:1",
        "Labels": {},
        "Env": [],
        "WorkingDir": "",
        "User": "",
        "Hostname": "",
        "NetworkDisabled": True,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "none",
            "Sysctls": {},
            "ReadonlyRootfs": False,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "5"}},
            "Mounts": [],
            "CapDrop": ["ALL"],
            "CapAdd": [],
            "SecurityOpt": ["no-new-privileges:true"],
        },
    }


@pytest.mark.parametrize(
    ("wish", "part"),
    [
        ({"entrypoint": ("keep",)}, {"Entrypoint": ["keep"]}),
        ({"command": ()}, {"Cmd": []}),
        ({"stop_signal": "SIGKILL"}, {"StopSignal": "SIGKILL"}),
        ({"environment": {"A": "b=c"}}, {"Env": ["A=b=c"]}),
        (
            {"network": "n", "address": "172.30.0.2"},
            {
                "NetworkDisabled": False,
                "NetworkingConfig": {"EndpointsConfig": {"n": {"IPAMConfig": {"IPv4Address": "172.30.0.2"}}}},
            },
        ),
    ],
)
def test_wishes(wish: dict[str, object], part: dict[str, object]) -> None:
    """Each wish is one part of the body."""
    body = container_body(ContainerSpec("c", "image:1", **wish))  # type: ignore[arg-type]

    assert {key: body[key] for key in part} == part


@pytest.mark.parametrize(
    ("wish", "part"),
    [
        ({"capabilities": ("NET_ADMIN",)}, {"CapDrop": ["ALL"], "CapAdd": ["NET_ADMIN"]}),
        ({"processes": 1024}, {"PidsLimit": 1024}),
        ({"memory": 64 * 2**20}, {"Memory": 67108864, "MemorySwap": 67108864}),
        (
            {"mounts": (Mount("/a", "/b", writable=True),)},
            {"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": False}]},
        ),
    ],
)
def test_wishes_of_the_host(wish: dict[str, object], part: dict[str, object]) -> None:
    """Each wish that the machine must grant is one part of HostConfig."""
    body = container_body(ContainerSpec("c", "image:1", **wish))["HostConfig"]  # type: ignore[arg-type]

    assert {key: body[key] for key in part} == part


def test_a_pod_keeps_the_engines_own_set_of_capabilities() -> None:
    """`None` drops nothing: images expect what `docker run` gives them."""
    body = container_body(ContainerSpec("c", "image:1", capabilities=None, no_new_privileges=False))["HostConfig"]

    assert not {"CapDrop", "CapAdd", "SecurityOpt"} & set(body)


@pytest.mark.parametrize(
    ("words", "todo"),
    [
        ("No such image: absent:1", "docker pull"),
        ("Pool overlaps with other one on this address space", "nodeSubnet"),
        ("network with name netlab_demo already exists", "--name"),
        ('Conflict. The container name "/x" is already in use by container "3f"', "netlab gc"),
        ("OCI runtime create failed: unable to apply caps: operation not permitted", "must have all"),
        ('invalid mount config for type "bind": bind source path does not exist: /run/k8s-netlab/x/ca.crt', "netlab down"),
        ("error while removing network: network netlab_x id 4e has active endpoints", "docker network inspect"),
        ("pull access denied for none, repository does not exist or may require 'docker login'", "docker login"),
        ("manifest for debian:none not found: manifest unknown: manifest unknown", "this tag"),
        ("something new", ""),
    ],
)
def test_a_refusal_says_what_to_do(words: str, todo: str) -> None:
    """What the engine says is looked up in a table of remedies."""
    assert todo in remedy(words)
    assert bool(todo) is bool(remedy(words))


BUILD = [{"stream": f"{words}\n"} for words in ("Step 2/2 : RUN false", "", "because")]
LONG = [{"stream": str(number)} for number in range(30)]
PULL = [{"status": "Pulling from library/none"}, {"status": "Digest: sha256:1"}]


@pytest.mark.parametrize(
    ("news", "error", "todo"),
    [
        pytest.param(BUILD, "code: 1", "  Step 2/2 : RUN false\n  because", id="a build: its last words"),
        pytest.param(LONG, "code: 1", "\n".join(f"  {number}" for number in range(10, 30)), id="a long build: the last of them"),
        pytest.param(PULL, "toomanyrequests: wait", remedy("toomanyrequests"), id="a pull: what to do"),
        pytest.param(PULL, "unexpected EOF", "", id="a pull: nothing is known to do"),
    ],
)
def test_why_a_build_or_pull_failed(news, error, todo) -> None:
    """What is known to do comes first, then a build's last words; how far a pull has come explains nothing."""
    assert failure_of([*news, {"error": error}]) == (error, todo)
    assert failure_of(news) is None


@pytest.mark.parametrize(
    ("nanoseconds", "words"),
    [
        (0, "0.000000000"),
        (1_800_000_000_000_000_001, "1800000000.000000001"),
        (1_800_000_000_250_000_000, "1800000000.250000000"),
    ],
)
def test_a_moment(nanoseconds: int, words: str) -> None:
    """The engine is told a moment to the nanosecond."""
    assert moment(nanoseconds) == words


def test_an_engine_that_is_not_there(monkeypatch: pytest.MonkeyPatch, near: Path) -> None:
    """The socket and what to do about it are named."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{near}/absent.sock")

    words = r"absent\.sock \(DOCKER_HOST\): no such file .*\nInstall and start the engine"
    with pytest.raises(UnsupportedHostError, match=words):
        DockerEngine()


def test_an_engine_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab is wired by this machine's kernel, so the engine must be this machine's."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")

    with pytest.raises(UnsupportedHostError, match=r"not on this machine: tcp://192\.0\.2\.1:2375"):
        DockerEngine()


def test_a_socket_without_anybody_behind_it(monkeypatch: pytest.MonkeyPatch, near: Path) -> None:
    """A socket file that a killed engine left is told from one that is missing."""
    door = near / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(door))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{door}")

    with pytest.raises(UnsupportedHostError, match=r"connection refused .*\nStart the engine"):
        DockerEngine()


def test_an_engine_that_hangs_up(monkeypatch: pytest.MonkeyPatch, near: Path) -> None:
    """What answers and then says nothing is told with what it was asked, and where to look."""
    door = near / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{door}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(30)
        listener.bind(str(door))
        listener.listen()
        hanging_up = threading.Thread(target=lambda: [listener.accept()[0].close() for _ in range(2)])
        hanging_up.start()
        with pytest.raises(EngineError, match=r"docker\.sock could not report its version: .*\nShow its log"):
            DockerEngine()
        hanging_up.join()


def test_errors_of_the_engine_are_those_of_a_lab() -> None:
    """Who does not care for the kind catches LabError."""
    assert issubclass(EngineError, Exception)
    assert EngineError("x", code=404).code == 404
