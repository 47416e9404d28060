"""The door to the container engine: what holds for the real one holds for the fake."""

from __future__ import annotations

import contextlib
import io
import queue
import secrets
import tarfile
from collections.abc import Iterator
from dataclasses import replace

import pytest

from netlab.engine.client import DockerEngine
from netlab.engine.fake import FakeEngine
from netlab.engine.protocol import CONNECTED, LAB_LABEL, ContainerSpec, Engine, Event, Mount, NetworkSpec
from netlab.errors import EngineError, is_not_found
from netlab.hosts.docker_network import CLASH
from netlab.node.pods.images import NO_NAME

IMAGE = "debian:bookworm-slim"
REAL = pytest.mark.parametrize("engine", ["real"], indirect=True)
PATIENCE = 60.0  # seconds for news, and for a command


@pytest.fixture(params=["real", "fake"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Both implementations of the door."""
    with contextlib.closing(DockerEngine() if request.param == "real" else FakeEngine(images={IMAGE: {}})) as made:
        yield made


@pytest.fixture
def lab(engine: Engine) -> Iterator[str]:
    """A name that nobody else has; what carries it as its lab is removed afterwards."""
    name = f"nlt-{secrets.token_hex(4)}"
    yield name
    engine.remove([container.id for container in engine.containers({LAB_LABEL: name})])
    for network in engine.networks({LAB_LABEL: name}):
        engine.remove_network(network.id)
    engine.remove_image(f"netlab-test/{name}:1")


def spec(lab: str, name: str = "a", **more: object) -> ContainerSpec:
    wanted = ContainerSpec(f"{lab}-{name}", IMAGE, {LAB_LABEL: lab, "netlab/owner": name}, command=("sleep", "infinity"))
    return replace(wanted, **more)  # type: ignore[arg-type]


def test_containers_start_in_order_and_are_found_by_labels(engine: Engine, lab: str) -> None:
    """Many start at once; they come back in the order asked for, and by label in the order of their names."""
    started = engine.start([spec(lab, name) for name in "cab"])

    assert [container.name for container in started] == [f"{lab}-{name}" for name in "cab"]
    assert all(container.runs and container.pid for container in started)
    assert [container.name for container in engine.containers({LAB_LABEL: lab})] == [f"{lab}-{name}" for name in "abc"]
    assert engine.containers({LAB_LABEL: lab, "netlab/owner": "b"}) == [started[2]]
    assert engine.containers({LAB_LABEL: "nobody"}) == []


def test_a_container_ends_and_starts_again(engine: Engine, lab: str) -> None:
    """A container that was killed keeps its id, has no process, and runs again with another one."""
    [before] = engine.start([spec(lab)])
    ended: queue.Queue[Event] = queue.Queue()
    stop = engine.events({LAB_LABEL: lab}, ended.put)
    engine.signal([before.id], "SIGKILL")
    while ended.get(timeout=PATIENCE).action != "die":
        pass
    stop()
    engine.signal([before.id], "SIGTERM")  # no error
    [dead] = engine.containers({LAB_LABEL: lab})
    [again] = engine.start_again([before.id])

    assert (dead.id, dead.runs, dead.pid, dead.exit_code) == (before.id, False, 0, 137)
    assert (again.id, again.runs) == (before.id, True)
    assert again.pid != before.pid


def test_news_are_told(engine: Engine, lab: str) -> None:
    """Who listens hears that it may begin, then of each start, end and removal of containers with its labels, and no other."""
    heard: queue.Queue[Event] = queue.Queue()
    stop = engine.events({LAB_LABEL: lab}, heard.put)

    assert heard.get(timeout=PATIENCE).action == CONNECTED

    [container] = engine.start([spec(lab)])
    engine.remove([container.id])
    news = [heard.get(timeout=PATIENCE) for _ in range(3)]
    stop()

    assert [(event.action, event.id, event.name) for event in news] == [
        (action, container.id, container.name) for action in ("start", "die", "destroy")
    ]
    assert news[1].exit_code == 137
    assert news[0].labels["netlab/owner"] == "a"


def test_what_is_gone_is_no_error(engine: Engine, lab: str) -> None:
    """Removing twice, also at the same time, signalling and removing what never was: the wish already holds."""
    [container] = engine.start([spec(lab)])
    for _ in range(2):
        engine.remove([container.id] * 4)
    engine.signal([container.id], "SIGTERM")
    engine.remove_network(f"{lab}-never")

    assert engine.containers({LAB_LABEL: lab}) == []


@pytest.mark.parametrize(
    ("change", "words", "absent"),
    [
        ({"image": "netlab-test/absent:1"}, "No such image", True),
        ({"network": "container:absent"}, "No such container", True),
        ({"network": "absent"}, "network absent not found", True),
    ],
)
def test_a_start_that_is_refused_leaves_nothing(
    engine: Engine, lab: str, change: dict[str, str], words: str, absent: bool
) -> None:
    """The engine's own words are told, the containers beside the refused one run, and of that one nothing is left."""
    with pytest.raises(EngineError, match=words) as refused:
        engine.start([spec(lab, "good"), spec(lab, "bad", **change)])

    assert is_not_found(refused.value) is absent
    assert [container.name for container in engine.containers({LAB_LABEL: lab})] == [f"{lab}-good"]


def test_a_name_is_used_once(engine: Engine, lab: str) -> None:
    """A second container of the same name is refused when it is another's."""
    engine.start([spec(lab)])
    with pytest.raises(EngineError, match="already in use") as refused:
        engine.start([spec(lab, labels={LAB_LABEL: lab, "netlab/owner": "other"})])

    assert refused.value.code == 409


def test_what_an_earlier_attempt_left_makes_way(engine: Engine, lab: str) -> None:
    """A container of the same name and owner is replaced: whoever asks again had no answer, or what he had has ended."""
    [before] = engine.start([spec(lab)])
    [again] = engine.start([spec(lab)])

    assert again.id != before.id
    assert [container.id for container in engine.containers({LAB_LABEL: lab})] == [again.id]


def test_containers_share_a_network_namespace(engine: Engine, lab: str) -> None:
    """`container:<id>` is how a pod's containers are in one namespace."""
    [holder] = engine.start([spec(lab, "holder")])
    [member] = engine.start([spec(lab, "member", network=f"container:{holder.id}")])

    assert member.runs


def test_networks_do_not_overlap(engine: Engine, lab: str) -> None:
    """A network is found by its label; one whose addresses or name another has is refused."""
    begins = f"10.213.{secrets.randbelow(256)}"  # somebody else may run this test
    wanted = NetworkSpec(f"{lab}-one", f"{begins}.0/28", f"{begins}.3", {LAB_LABEL: lab})
    made = engine.create_network(wanted)
    with pytest.raises(EngineError, match="overlap") as overlaps:
        engine.create_network(replace(wanted, name=f"{lab}-two"))
    with pytest.raises(EngineError, match=f"network with name {lab}-one already exists"):
        engine.create_network(replace(wanted, subnet=f"{begins}.16/28", gateway=f"{begins}.19"))

    assert overlaps.value.code == CLASH
    assert engine.networks({LAB_LABEL: lab}) == [made]
    assert made.subnets == (wanted.subnet,)
    assert made in engine.networks({})

    engine.remove_network(made.name)

    assert engine.networks({LAB_LABEL: lab}) == []


def test_what_cannot_be_the_name_of_an_image(engine: Engine) -> None:
    """It is refused as such: no image of that name will ever be there."""
    with pytest.raises(EngineError, match="invalid reference format") as refused:
        engine.image_user("No Name:1")

    assert refused.value.code == NO_NAME


def test_absence_of_an_image_is_a_question(engine: Engine) -> None:
    """An image that is there has an identity and labels; one that is not is an error that `is_not_found` knows."""
    assert engine.has_image(IMAGE)
    assert engine.image_id(IMAGE)
    assert not engine.has_image("netlab-test/absent:1")
    with pytest.raises(EngineError) as refused:
        engine.image_labels("netlab-test/absent:1")

    assert is_not_found(refused.value)


# ---- what only the real one can show
@REAL
def test_a_command_in_a_container(engine: Engine, lab: str) -> None:
    """A command's exit code and words come back."""
    [container] = engine.start([spec(lab)])

    assert engine.run(container.id, ["sh", "-c", "echo out; exit 3"], PATIENCE) == (3, "out\n")
    assert engine.run(container.id, ["sh", "-c", "echo err >&2"], PATIENCE) == (0, "err\n")
    assert engine.run(container.id, ["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x"], PATIENCE) == (0, "x" * 300000)


@REAL
@pytest.mark.parametrize("limit", [0, 0.3], ids=["before it begins", "while it runs"])
def test_a_command_that_takes_too_long(engine: Engine, lab: str, limit: float) -> None:
    """It is ended, also when the limit is over before the engine has begun it, as on a busy machine."""
    [container] = engine.start([spec(lab)])
    with pytest.raises(TimeoutError):
        engine.run(container.id, ["sleep", "4321"], limit)
    code, said = engine.run(container.id, ["sh", "-c", "cat /proc/[0-9]*/cmdline"], PATIENCE)

    assert (code, "sleep\0004321" in said) == (0, False)


@REAL
def test_a_container_is_what_was_asked_for(engine: Engine, lab: str, tmp_path) -> None:
    """Capabilities, user, environment, mounts, settings and a read-only root reach the container, and no others."""
    (tmp_path / "file").write_text("of the machine\n")
    (tmp_path / "file").chmod(0o666)
    script = 'id -u; echo "$WORD"; pwd; hostname; cat /given; touch /given /x 2>&1'
    script += "; grep -E 'CapEff|NoNewPrivs' /proc/self/status; cat /proc/sys/net/ipv4/ip_forward"
    wanted = spec(
        lab,
        command=("sh", "-c", script),
        user="1234",
        environment={"WORD": "said"},
        working_directory="/usr",
        hostname="box",
        mounts=(Mount(str(tmp_path / "file"), "/given"),),
        read_only=True,
        capabilities=("NET_ADMIN",),
        sysctls={"net.ipv4.ip_forward": "1"},
    )
    ended: queue.Queue[Event] = queue.Queue()
    stop = engine.events({LAB_LABEL: lab}, ended.put)
    [container] = engine.start([wanted])
    while ended.get(timeout=PATIENCE).action != "die":
        pass
    stop()
    said = engine.logs(container.id)

    assert said.splitlines() == [
        "1234",
        "said",
        "/usr",
        "box",
        "of the machine",
        "touch: cannot touch '/given': Read-only file system",
        "touch: cannot touch '/x': Read-only file system",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "1",
    ]
    assert engine.logs(container.id, lines=1) == "1\n"


@REAL
def test_an_image_is_built_and_its_failure_told(engine: Engine, lab: str) -> None:
    """A build names and labels the image; one that fails ends with the words of the step."""
    engine.build(_context(f"FROM {IMAGE}\nLABEL own=label\n"), f"netlab-test/{lab}:1", {LAB_LABEL: lab})

    assert {LAB_LABEL: lab, "own": "label"}.items() <= engine.image_labels(f"netlab-test/{lab}:1").items()

    with pytest.raises(EngineError, match="returned a non-zero code: 7") as refused:
        engine.build(_context(f"FROM {IMAGE}\nRUN echo because >&2; exit 7\n"), f"netlab-test/{lab}:2", {})

    assert "because" in refused.value.remedy

    engine.remove_image(f"netlab-test/{lab}:1")

    assert not engine.has_image(f"netlab-test/{lab}:1")


def _context(dockerfile: str) -> bytes:
    content = dockerfile.encode()
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()
