"""Each file of a lab's record emptied, cut in half, overwritten or removed, with the daemon alive or killed (finding M2).

A case damages one file of a running lab. Then `status` and `exec` say something, and `up` makes the lab whole: same pods at
the same addresses, one process of each name, no traceback in a log. Where nothing else has what the file said, `up` says so in
one sentence that names the file and `netlab down`. `down` always works.

`NETLAB_FUZZ_CASES` says how many of the cases are run. No file comes twice before each has come once.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from labdriver import LabDriver

TOPOLOGY = Path(__file__).with_name("damaged.yaml")
CASES = int(os.environ.get("NETLAB_FUZZ_CASES", "14"))
CONTENT = (
    "lab.json", "api.json", "kubeconfig", "store.db", "store.db-wal", "ipam/node1",
    "tokens/admin", "tokens/edge", "tokens/node-node1",
    "pki/ca.crt", "pki/ca.key", "pki/server.crt", "pki/server.key",
    "processes/daemon", "processes/edge", "processes/agent-node1", "processes/workloads-node1", "processes/log-keeper",
    "processes/container-*", "pods/*/etc/hosts", "pods/*/main.env", "hosts/node1/hosts", "logs/daemon.log",
)  # fmt: skip
REMOVABLE = ("sockets/api", "sockets/workloads-node1", "sockets/log-keeper", "netns/{lab}-node1", "netns/{lab}-default-web*")
DAMAGES = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "random": lambda content: random.Random(len(content)).randbytes(max(len(content), 64)),
    "removed": None,
}
# What nothing else says, once the daemon has gone. (Of one file of the store, the other may still have all.)
STORE = ("store.db", "store.db-wal")


def cases():
    """Return all cases; each file comes once before any comes twice."""
    rows = [(name, damage) for name in CONTENT for damage in DAMAGES] + [(name, "removed") for name in REMOVABLE]
    every = [(name, damage, daemon) for name, damage in rows for daemon in ("alive", "killed")]
    random.Random(7).shuffle(every)
    seen = Counter()
    rank = {}
    for case in every:
        seen[case[0]] += 1
        rank[case] = seen[case[0]]
    return sorted(every, key=lambda case: rank[case])[:CASES]


@pytest.fixture(scope="module")
def shared():
    """One lab for all cases; the case after one that has failed gets a new lab."""
    lab = LabDriver("damaged")
    yield lab
    if lab.state.exists():
        lab.down()


@pytest.fixture
def running(shared):
    """The lab, up and as no case has damaged it yet."""
    if not shared.state.exists():
        shared.up(TOPOLOGY)
        shared.before = picture(shared)
    yield shared
    if not getattr(shared, "whole", False) and shared.state.exists():
        shared.down()
    shared.whole = False


@pytest.mark.parametrize(("name", "damage", "daemon"), cases())
def test_damaged_record_is_healed_or_named(running, name, damage, daemon):
    """`up` heals the lab, or one sentence names the file and the way out."""
    lab = running
    before = lab.before
    path = next(iter(sorted(lab.state.glob(name.format(lab=lab.name)))))
    pid = lab.pid("daemon")
    break_it(path, DAMAGES[damage])
    if daemon == "killed":
        os.kill(pid, signal.SIGKILL)

    said = [lab.run("status", lab.name, check=None), lab.exec("node1", "true", check=None)]
    assert all(len(done.stderr.splitlines()) <= 3 for done in said), [done.stderr for done in said]
    up = lab.up(TOPOLOGY, check=None)

    if up.returncode and name in STORE and daemon == "killed":
        assert (up.returncode, str(path) in up.stderr, "netlab down" in up.stderr) == (1, True, True), up.stderr
        return
    assert up.returncode == 0, up.stderr + (lab.state / "logs/daemon.log").read_text(errors="replace")[-3000:]
    expected = {**before, "pods": ANY_PODS} if name in STORE and daemon == "killed" else before
    lab.before = picture(lab)
    assert lab.before == expected
    assert tracebacks(lab) == ""
    lab.whole = name not in {"logs/daemon.log", *STORE}


class _AnyPods:
    """Equal to any pods: those of a lab whose objects are gone are made again."""

    def __eq__(self, other):
        return bool(other)

    __hash__ = None


ANY_PODS = _AnyPods()


def break_it(path, damage):
    """Damage a file in place, as a full disk or a hand would."""
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))


def picture(lab):
    """Return what must be the same again: pods, processes by name, and that a Service answers from outside on both nodes."""
    status = lab.status()
    addresses = [f"http://{node['address']}:30080/" for node in status["nodes"]]
    return {
        "nodes": [(node["name"], node["status"]) for node in status["nodes"]],
        "pods": sorted((pod["name"], pod["ip"], pod["restarts"], pod["ready"]) for pod in status["pods"]),
        "processes": processes(lab),
        "records": sorted(path.name.partition("-")[0] for path in (lab.state / "processes").iterdir()),
        "namespaces": sorted(path.name.partition("-")[0] for path in (lab.state / "netns").iterdir()),
        "answers": lab.exec("client", "curl", "-sf", "-m", "5", *addresses).returncode,
    }


def processes(lab):
    """Return how many processes of the lab have each title."""
    titles = Counter()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
            except OSError:  # it has ended
                continue
            if title.startswith(f"netlab: {lab.name} "):
                titles[title] += 1
    return titles


def tracebacks(lab):
    """Return what the logs hold from their first traceback on."""
    texts = [path.read_text(errors="replace") for path in sorted((lab.state / "logs").glob("*.log*"))]
    return "".join(text[text.index("Traceback") - 200 :] for text in texts if "Traceback" in text)
