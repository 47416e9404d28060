"""Whole labs whose hosts are containers: what works, what heals, what a host may not do, what is left."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from labdriver import LabDriver, run

from netlab.kernel import mounts

TOPOLOGY = Path(__file__).parent / "hosts.yaml"
HOSTS = ("client", "edge", "fabric", "node1", "node2")


@pytest.fixture(autouse=True, scope="module")
def _images(image_tags) -> None:
    """The images are there before a lab is timed."""


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def left_of(name: str) -> list[str]:
    """What the machine has of a lab: containers, networks, volumes, names of namespaces, its record."""
    label = f"label=netlab/lab={name}"
    netns = Path("/run/netns")
    return [
        *docker("ps", "-aq", "--filter", label).split(),
        *docker("network", "ls", "-q", "--filter", label).split(),
        *docker("volume", "ls", "-q", "--filter", label).split(),
        *(str(path) for path in (netns.glob(f"{name}-*") if netns.is_dir() else ())),
        *(str(path) for path in Path("/run/k8s-netlab").glob(name)),
    ]


def is_netlab(pid: int) -> bool:
    """Whether a process runs, and is one of ours: a zombie that nobody waits for has no command line."""
    try:
        return b"netlab" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def made(name: str) -> Iterator[LabDriver]:
    driver = LabDriver(name)
    try:
        driver.up(TOPOLOGY)
        yield driver
    finally:
        run("down", name, check=None)

    assert left_of(name) == []


@pytest.fixture(scope="module")
def lab() -> Iterator[LabDriver]:
    """A lab that all tests of this module share; each leaves it whole."""
    yield from made(f"nth{secrets.token_hex(3)}")


def container(lab: LabDriver, host: str) -> str:
    return f"netlab_{lab.name}_{host}"


def addresses(lab: LabDriver) -> list[str]:
    return [node["address"] for node in lab.status()["nodes"]]


def assert_whole(lab: LabDriver) -> None:
    """Every path works as soon as `up` says so: overlay, pods, Services, DNS, the way out."""
    lab.up(TOPOLOGY)

    assert lab.test(check=0)["checks"]


def test_every_path_works(lab: LabDriver) -> None:
    """A lab of containers passes its whole connectivity test."""
    assert_whole(lab)


def test_up_again_has_nothing_to_do(lab: LabDriver) -> None:
    """A second `up` changes nothing and starts nothing."""
    before = docker("ps", "-q", "--filter", f"label=netlab/lab={lab.name}").split()

    assert "nothing to do" in lab.up(TOPOLOGY).stderr
    assert docker("ps", "-q", "--filter", f"label=netlab/lab={lab.name}").split() == before


def test_a_command_in_a_host(lab: LabDriver) -> None:
    """The command's input, output and exit code are its own, and it runs inside the container."""
    result = lab.exec("node1", "sh", "-c", "hostname; cat; exit 7", check=7)

    assert result.stdout == "node1\n"
    assert lab.exec("client", "getent", "hosts", "node2").stdout.split()[0] == addresses(lab)[1]


def test_the_machine_reaches_nodes(lab: LabDriver) -> None:
    """A node's own ports and the NodePorts of Services answer the machine at every node's address, as in kind."""
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy this machine has
    for address in addresses(lab):
        for place in (":10256/healthz", ":30080/"):
            with directly.open(f"http://{address}{place}", timeout=30) as answer:
                assert answer.status == 200


def test_what_agents_say(lab: LabDriver) -> None:
    """`logs` has the agents' logs under the names they have in every lab."""
    names = run("logs", "--lab", lab.name).stdout.split()

    assert names == ["agent-node1", "agent-node2", "daemon", "edge"]
    assert "edge=started" in run("logs", "--lab", lab.name, "edge").stdout


# ---- what is lost comes back
@pytest.mark.parametrize("host", ["node1", "fabric", "edge"])
def test_a_removed_container(lab: LabDriver, host: str) -> None:
    """`docker rm -f` of a host: it is made anew, with the same address, and every path works again."""
    before = addresses(lab)
    docker("rm", "-f", container(lab, host))
    assert_whole(lab)

    assert addresses(lab) == before


def test_what_nobody_tells_of(lab: LabDriver) -> None:
    """A paused node, whose agent stands still, goes on with the next `up`; a fabric that is off the network is on it again."""
    docker("pause", container(lab, "node1"))
    docker("network", "disconnect", "--force", f"netlab_{lab.name}", container(lab, "fabric"))
    assert_whole(lab)

    assert docker("inspect", "--format", "{{.State.Status}}", container(lab, "node1")).strip() == "running"
    with urllib.request.urlopen(f"http://{addresses(lab)[0]}:10256/healthz", timeout=5) as answer:
        assert answer.status == 200


def test_all_containers_ended(lab: LabDriver) -> None:
    """Every container ends at once: all are started again, none is made anew, and as soon as `up` says so every path works."""
    names = [container(lab, host) for host in HOSTS]
    before = docker("inspect", "--format", "{{.Id}}", *names)
    docker("kill", *names)
    assert_whole(lab)

    assert docker("inspect", "--format", "{{.Id}}", *names) == before


def test_a_killed_agent_and_daemon(lab: LabDriver) -> None:
    """The data plane works without agent and daemon; `keep` brings the one back, `up` the other, and no container is touched."""
    before, address = docker("inspect", "--format", "{{.State.Pid}}", container(lab, "node1")), addresses(lab)[0]
    os.kill(lab.pid("daemon"), signal.SIGKILL)
    docker("exec", container(lab, "node1"), "pkill", "-9", "-f", "netlab.node.agent.container")
    lab.exec("client", "ping", "-c1", "-W2", address)
    assert_whole(lab)

    assert docker("inspect", "--format", "{{.State.Pid}}", container(lab, "node1")) == before


# ---- what a host may not do
BITS = {"KILL": 5, "SETGID": 6, "SETUID": 7, "NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13}
CLIENT = {"NET_RAW", "SETUID", "SETGID", "KILL"}
CAPABILITIES = {
    "fabric": set(),
    "client": CLIENT,
    "edge": CLIENT | {"NET_ADMIN", "NET_BIND_SERVICE"},
    "node1": CLIENT | {"NET_ADMIN", "NET_BIND_SERVICE"},
}


@pytest.mark.parametrize("host", CAPABILITIES)
def test_capabilities(lab: LabDriver, host: str) -> None:
    """A host's bounding set is what docs/docker.md lists; nobody in it can get more."""
    status = docker("exec", "-u", "0", container(lab, host), "cat", "/proc/self/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())

    assert int(fields["CapBnd"], 16) == sum(1 << BITS[name] for name in CAPABILITIES[host])
    assert fields["NoNewPrivs"].strip() == "1"


REQUEST = """
import json, ssl, sys, urllib.request
given = json.load(open("/run/netlab/arguments.json"))
trust = ssl.create_default_context(cafile=given["ca"])
token = open(given["token"]).read().strip()
def ask(method, path, body=None):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
    data = json.dumps(body).encode() if body else None
    question = urllib.request.Request(given["server"] + path, data, headers, method=method)
    try:
        return urllib.request.urlopen(question, context=trust, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code
label = {"metadata": {"labels": {"x": "y"}}}
note = {"metadata": {"annotations": {"x": "y"}}}
print(ask("GET", "/api/v1/services"), ask("PATCH", "/api/v1/nodes/node1", note), ask("PATCH", "/api/v1/nodes/node2", note),
      ask("GET", "/api/v1/secrets"), ask("DELETE", "/api/v1/namespaces/default"))
"""


def test_a_compromised_node(lab: LabDriver) -> None:
    """Whoever is root in a node's container has that node's token alone, and neither the engine's socket nor another's."""
    found = docker("exec", container(lab, "node1"), "sh", "-c", "find / -name docker.sock 2>/dev/null; ls /run/netlab")
    mounts = docker("inspect", "--format", "{{range .Mounts}}{{.Source}} {{.RW}}\n{{end}}", container(lab, "node1")).split("\n")
    tokens = [line for line in mounts if "/tokens/" in line]

    assert found.split() == ["arguments.json", "ca.crt", "lab.json", "token"]
    assert tokens == [f"{lab.state}/tokens/node-node1 false"]
    assert not any(line.endswith("true") or "docker.sock" in line for line in mounts)
    assert docker("exec", container(lab, "node1"), "python3", "-c", REQUEST).split() == ["200", "200", "403", "403", "403"]


# ---- labs beside each other, and what they leave
@pytest.mark.parametrize("is_whole", [True, False])
def test_two_labs_and_a_lost_record(lab: LabDriver, is_whole: bool) -> None:
    """A second lab takes the next free subnet; when its record is lost, it is found by its labels, and the first is left.

    Where something of a pod is mounted in the folder, `rm -rf` leaves that; then the lab still has a name for `down`.
    """
    other = LabDriver(f"nth{secrets.token_hex(3)}")
    try:
        other.up(TOPOLOGY)
        mine, others = addresses(lab), addresses(other)

        assert set(mine).isdisjoint(others)
        assert others[0].endswith(".1.1")

        pid = other.pid("daemon")
        os.kill(pid, signal.SIGSTOP)  # it writes nothing there meanwhile
        if is_whole:
            mounts.unmount_below(other.state)
        shutil.rmtree(other.state, ignore_errors=not is_whole)
        os.kill(pid, signal.SIGCONT)
        run("gc") if is_whole else run("down", other.name)

        assert left_of(other.name) == []
        assert not other.state.exists()
        assert not is_netlab(pid)
    finally:
        run("down", other.name, check=None)
    assert_whole(lab)


def test_a_stated_subnet_that_clashes(lab: LabDriver, tmp_path: Path) -> None:
    """Who states a range that another lab has is told whose it is, and nothing is made."""
    subnet = docker("network", "inspect", f"netlab_{lab.name}", "--format", "{{(index .IPAM.Config 0).Subnet}}").strip()
    name = f"nth{secrets.token_hex(3)}"
    file = tmp_path / "lab.yaml"
    file.write_text(TOPOLOGY.read_text().replace("nodes: 2", f"nodes: 2\n  networking: {{nodeSubnet: {subnet}}}"))
    refused = LabDriver(name).up(file, check=1)

    assert f"{subnet} overlaps with the Docker network netlab_{lab.name} of lab {lab.name}" in refused.stderr
    assert left_of(name) == []


def test_the_runtime_of_a_lab_does_not_change(lab: LabDriver) -> None:
    """A running lab keeps its runtime; another one is refused with what to do."""
    assert "spec.runtime of the running lab" in lab.up(TOPOLOGY, "--runtime", "netns", check=2).stderr
    assert "unknown runtime 'podman'" in lab.up(TOPOLOGY, "--runtime", "podman", check=2).stderr
