"""What the images are made of, when they are built, and where their base comes from."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from netlab.engine.fake import FakeEngine
from netlab.errors import LabError, UnsupportedHostError
from netlab.images import base, dependencies, images
from netlab.images.base import BASE, archive_sources
from netlab.images.recipes import File, digest_of_files, plan, read_recipe
from netlab.lab import images as verbs
from netlab.process import programs

STAND_INS = {("catalogue", "stand-in")}
ALL = {"client", "common", "edge", "node", "workloads"}
WITH_PYTHON = ALL - {"client"}
NOT_EVERYWHERE = {"typing-extensions", "setuptools", "k8s-netlab"}  # imported by some Pythons, or at their start; ourselves
ENTRIES = ("netlab.node.agent.agent", "netlab.edge.main", "netlab.hosts.startup", "netlab.workloads.container")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def libraries(monkeypatch):
    """Libraries that need no pip: what would be run is returned, and leaves a file."""
    ran = []

    def run(_doing, argv, *, limit):  # noqa: ARG001
        ran.append(argv)
        (Path(argv[argv.index("--target") + 1]) / "library.py").write_text("")

    monkeypatch.setattr(programs, "run", run)
    return ran


# ---- contents
def tags(*, changed=""):
    """Return the tags of all images when one of the things they are made of has changed."""
    recipes = {name: read_recipe(name, text) for name, text in images._dockerfiles().items()}
    if changed in recipes:
        recipes[changed] = replace(recipes[changed], text=recipes[changed].text + "# new\n")
    digests = {source: f"{source}{'!' * (source == changed)}" for recipe in recipes.values() for source in recipe.sources}
    return {image.name: image.tag for image in plan(recipes, digests, f"sha256:1{'!' * (changed == 'base')}")}


@pytest.mark.parametrize(
    ("changed", "made_anew"),
    [
        ("", set()),
        ("base", ALL),
        ("netlab", WITH_PYTHON),
        ("dependencies", WITH_PYTHON),
        ("common/keep", ALL),
        ("common", WITH_PYTHON),
        ("client", {"client"}),
        ("node", {"node"}),
        ("workloads", {"workloads"}),
    ],
)
def test_a_tag_says_what_is_in_an_image(changed, made_anew):
    """Exactly the images that hold what has changed get another tag."""
    before, after = tags(), tags(changed=changed)

    assert set(images.ROLES) < set(before)
    assert made_anew == {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    "other",
    [
        [File("a", b"1"), File("b", b"2", executable=True)],
        [File("a", b"1"), File("c", b"2")],
        [File("a", b"1"), File("b", b"3")],
        [File("a", b"1")],
        [File("a", b"1"), File("b", b"2"), File("c", b"")],
    ],
)
def test_a_digest_of_files(other):
    """Names, contents and modes count, the order does not."""
    files = [File("a", b"1"), File("b", b"2")]

    assert digest_of_files(files) == digest_of_files(files[::-1])
    assert digest_of_files(files) != digest_of_files(other)


def test_parents_come_first():
    """An image is planned after the one it stands on, and stands on exactly that tag."""
    planned = images.wanted_images("sha256:1").images
    at = {image.tag: number for number, image in enumerate(planned)}
    common = next(image.tag for image in planned if image.name == "common")

    assert ALL == {image.name for image in planned}
    assert {BASE, common} == {image.parent_tag for image in planned}
    assert all(at.get(image.parent_tag, -1) < at[image.tag] for image in planned)
    assert all(f"FROM {image.parent_tag}\n" in image.dockerfile({}) for image in planned)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"a": "FROM netlab/b\n", "b": "FROM netlab/a\n"}, "cannot order the builds of a, b:"),
        ({"a": "FROM netlab/absent\n"}, "cannot order the builds of a:"),
        ({"a": "FROM x\nFROM y\n"}, "has 2 FROM"),
        ({"a": "RUN true\n"}, "has 0 FROM"),
    ],
)
def test_dockerfiles_that_make_no_sense(texts, words):
    """A parent that is not there, a circle, several stages: refused with the image's name."""
    with pytest.raises(LabError, match=words):
        plan({name: read_recipe(name, text) for name, text in texts.items()}, {}, "sha256:1")


@pytest.mark.parametrize("name", sorted(ALL))
def test_dockerfiles_keep_the_rules(name):
    """Every image is titled and licensed, and leaves no package lists behind; netlab is copied after all that takes long."""
    text = images._dockerfiles()[name]
    steps = [line.split()[0:2] for line in text.splitlines() if line.startswith(("RUN ", "COPY "))]

    assert "org.opencontainers.image.title" in text
    assert 'org.opencontainers.image.licenses="Apache-2.0"' in text
    assert text.count("apt-get install") == text.count("rm -rf /var/lib/apt/lists/*")
    assert ["COPY", "netlab"] not in steps or ["RUN", "apt-get"] not in steps[steps.index(["COPY", "netlab"]) :]


@pytest.mark.parametrize(("name", "user"), [("client", "65534:65534"), ("workloads", "65534:65534")])
def test_who_needs_no_root_is_none(name, user):
    """Clients and workloads run as nobody."""
    assert f"USER {user}\n" in images._dockerfiles()[name]


def test_the_program_in_the_images():
    """What runs in containers is there, what runs on the machine only is not."""
    paths = {file.path for file in images._program()}

    assert {"netlab/__init__.py", "netlab/node/agent/agent.py", "netlab/edge/main.py", "netlab/workloads/serving.py"} <= paths
    assert not {path for path in paths if path.split("/")[1] in {"cli", "lab", "daemon", "probe", "_images"}}


@pytest.mark.parametrize("role", ["node", "edge", "workloads"])
def test_what_an_image_starts_is_in_it(role):
    """The module that a Dockerfile's last words name is among the files of the image."""
    [module] = re.findall(r'"-m", "([a-z_.]+)"', images._dockerfiles()[role])

    assert f"{module.replace('.', '/')}.py" in {file.path for file in images._program()}


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_scripts_can_be_executed(tmp_path, mode):
    """What a file is decides, not its mode: a folder shared with another system may keep none."""
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "module.py").write_text("pass\n")
    for path in tmp_path.iterdir():
        path.chmod(mode)

    assert {"x/script": True, "x/module.py": False} == {file.path: file.executable for file in images._tree(tmp_path, "x")}


def test_the_libraries_in_the_images():
    """Exactly what the entries of the containers import is fetched, in the versions and with the hashes of the lock."""
    script = f"import sys, {', '.join(ENTRIES)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    owners = metadata.packages_distributions()
    imported = {owner.lower().replace("_", "-") for name in done.stdout.split() for owner in owners.get(name, ())}

    assert set(dependencies.DISTRIBUTIONS) - NOT_EVERYWHERE == imported - NOT_EVERYWHERE
    lines = dependencies.requirements()
    assert [True] * len(lines) == [
        f"{name}==" in line and " --hash=sha256:" in line for name, line in zip(dependencies.DISTRIBUTIONS, lines, strict=True)
    ]


def test_a_lock_without_a_library_is_told(monkeypatch):
    """Nothing is fetched without a hash."""
    monkeypatch.setattr(dependencies, "_lock_lines", lambda: ["h11==1 --hash=sha256:0"])
    with pytest.raises(LabError, match=r"requirements.lock does not contain dnspython, idna, "):
        dependencies.requirements()


def test_libraries_are_fetched_once(libraries, tmp_path):
    """Wheels of Debian's Python are asked for; the second time the cache has them."""
    folders = {dependencies.fetch(tmp_path) for _ in range(2)}

    assert 1 == len(folders) == len(libraries)
    assert {"--only-binary=:all:", "--no-deps", "3.11", "--require-hashes"} < set(libraries[0])
    assert ["library.py"] == [path.name for path in folders.pop().iterdir()]


def test_a_python_without_pip(monkeypatch, tmp_path):
    """Where pip is missing the user reads how to get it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UnsupportedHostError, match="ensurepip"):
        dependencies.fetch(tmp_path)


# ---- builds
@pytest.mark.usefixtures("libraries")
def test_what_is_missing_is_built_and_told():
    """Parents come first; what is there is left alone; labels say what an image is."""
    engine, said = FakeEngine(images={BASE: {}}), []
    made = images.ensure(engine, said.append)
    engine.remove_image(made["node"])
    first, again = len(said), images.ensure(engine, said.append)

    assert set(images.ROLES) == set(made)
    assert ["client", "common", "edge", "node", "workloads"] == [line.split("/")[1].split(":")[0] for line in said[:first]]
    assert [f"building image {made['node']} (1 of 1)"] == said[first:]
    assert made == again
    assert ("node", made["node"].partition(":")[2]) == (
        engine.image_labels(made["node"])["netlab/role"],
        engine.image_labels(made["node"])["netlab/content"][:12],
    )


@pytest.mark.usefixtures("libraries")
def test_two_builds_at_once(tmp_path):
    """The second waits for the first, says so, and finds its images."""
    engine, said = FakeEngine(images={BASE: {}}), []
    waiting = threading.Event()

    def say(text):
        said.append(text)
        waiting.set()

    images.cache().mkdir(parents=True)
    second = threading.Thread(target=images.ensure, args=(engine, say))
    with (images.cache() / "images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second.start()
        waiting.wait(60)
        for image in images.wanted_images(engine.image_id(BASE)).images:
            engine.images[image.tag] = {}
    second.join(60)

    assert ["waiting for another netlab process that builds images"] == said
    assert tmp_path in images.cache().parents


# ---- the base
def test_the_base_of_a_registry():
    """A base that a registry has is fetched."""
    engine, said = FakeEngine(registry={BASE}), []
    identity = base.ensure_base(engine, said.append)

    assert engine.image_id(BASE) == identity
    assert [f"pulling {BASE}"] == said


def test_the_base_without_a_registry(monkeypatch):
    """Where no registry answers mmdebstrap makes the base; the image is labelled, and made once."""
    engine, said, ran = FakeEngine(), [], []
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(programs, "run", lambda _doing, argv, *, limit: ran.append((argv, limit)))
    for _ in range(2):
        base.ensure_base(engine, said.append)

    assert ["mmdebstrap"] == [argv[0] for argv, _ in ran]
    assert {"netlab/base": "mmdebstrap"} == engine.image_labels(BASE)
    assert "could not pull debian:bookworm-slim: the container engine could not pull" in said[1]


def test_no_base_at_all(monkeypatch):
    """Without registry and mmdebstrap the user reads what to install."""
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(UnsupportedHostError, match="apt-get install -y mmdebstrap"):
        base.ensure_base(FakeEngine(), print)


KEY = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
DEB822 = """Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://packages.example/apt
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/example.gpg
"""


@pytest.mark.parametrize(
    ("files", "sources"),
    [
        ([], ()),
        (
            [(".sources", DEB822)],
            (
                f"deb {KEY} http://mirror.example/debian bookworm main",
                f"deb {KEY} http://mirror.example/debian bookworm-updates main",
            ),
        ),
        (
            [
                (
                    ".list",
                    "# deb http://no/debian bookworm main\ndeb http://a/debian bookworm main non-free\ndeb-src http://a x main\n",
                )
            ],
            (f"deb {KEY} http://a/debian bookworm main",),
        ),
        ([(".list", "deb [arch=amd64 signed-by=/etc/apt/keyrings/x.asc] https://x.example bookworm main\n")], ()),
        ([(".list", "deb cdrom:[Debian]/ bookworm main\n")], ()),
        ([(".list", "deb http://archive.ubuntu.example/ubuntu noble main\n")], ()),
        ([(".list", "deb http://security.example bookworm-security main\n")], ()),
        ([(".sources", DEB822.replace("Types: deb deb-src", "Types: deb\nEnabled: no"))], ()),
    ],
    ids=["nothing", "deb822", "lines", "somebody else's", "a disc", "another system", "security alone", "switched off"],
)
def test_where_the_base_is_made_from(files, sources):
    """Debian's own archive as the machine's apt knows it, and nobody else's; none of it unless the release itself is there."""
    assert sources == archive_sources(files)


# ---- programs
@pytest.mark.parametrize(
    ("script", "limit", "words"),
    [
        ("echo because; exit 3", 10, "could not make it: exit code 3\nCommand: sh -c .*\n  because"),
        ("exec sleep 60", 0.1, "could not make it: timed out after 0.1 s"),
    ],
)
def test_a_program_that_fails(script, limit, words):
    """The error has the command and its last words."""
    with pytest.raises(LabError, match=words):
        programs.run("make it", ["sh", "-c", script], limit=limit)


def test_a_program_ends_with_us(tmp_path):
    """Interrupted, we end the program, and it can clean up."""

    class Interruption(BaseException):
        pass

    def interrupt(_number, _frame):
        raise Interruption

    child = f"trap 'echo cleaned > {tmp_path}/word; exit' TERM; kill -HUP {os.getpid()}; while :; do sleep 0.05; done"
    script = f"trap '' TERM; (trap - TERM; {child}) & wait"  # as mmdebstrap does
    before = signal.signal(signal.SIGHUP, interrupt)
    try:
        with pytest.raises(Interruption):
            programs.run("make it", ["sh", "-c", script], limit=10)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert "cleaned\n" == (tmp_path / "word").read_text()


# ---- the verbs
@pytest.mark.usefixtures("libraries")
def test_the_list_and_what_is_pruned():
    """Present, to be built, of other versions; only the last are removed, and not while a container uses them."""
    engine = FakeEngine(images={BASE: {}, "netlab/node:0": {"netlab/content": "0", "netlab/role": "node"}})
    before = {(row.role, row.state) for row in verbs.rows(engine)}
    images.ensure(engine, print)
    after = {(row.role, row.state) for row in verbs.rows(engine)}

    assert {("base", "present"), ("node", "other"), *((name, "to build") for name in ALL)} == before - STAND_INS
    assert {("base", "present"), ("node", "other"), *((name, "present") for name in ALL)} == after - STAND_INS
    assert ((["netlab/node:0"], []), False) == (verbs.remove_others(engine), engine.has_image("netlab/node:0"))


def test_the_list_without_a_base():
    """Until the base is there no content can be known."""
    found = {(row.role, row.state) for row in verbs.rows(FakeEngine())}

    assert {("base", "to get"), *((role, "to build") for role in images.ROLES)} == found - STAND_INS


def test_the_catalogue_in_the_list():
    """An image of the catalogue is there, or has its stand-in."""
    found = {row.image: row.state for row in verbs.rows(FakeEngine(images={"nginx": {}})) if row.role == "catalogue"}

    assert ("present", "stand-in") == (found["nginx"], found["jpetazzo/color"])


def test_what_cannot_be_fetched():
    """What a registry has is fetched, the rest is named at the end."""
    engine, said = FakeEngine(registry={"nginx"}), []
    with pytest.raises(LabError, match="could not pull: absent/image, other:1"):
        verbs.fetch(engine, ["absent/image", "nginx", "other:1"], said.append)

    assert engine.has_image("nginx")


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("nginx", "docker.io"),
        ("traefik/whoami:1", "docker.io"),
        ("gcr.io/kuar-demo/kuard-amd64:1", "gcr.io"),
        ("localhost/x", "localhost"),
        ("host:5000/x", "host:5000"),
    ],
)
def test_registries(image, registry):
    """The registry of a name, as Docker reads it."""
    assert registry == verbs.registry_of(image)
