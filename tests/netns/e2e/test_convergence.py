"""`up` on an edited file converges; on an unchanged one it does nothing, not even in the kernel."""

from __future__ import annotations

import os
import re
import select
import subprocess
from itertools import count

import pytest
from labdriver import TIME_LIMIT

BLUE_REPLICAS = re.compile(r"(metadata: \{name: blue, .*\}\nspec:\n  replicas: )\d+")


SECOND_SERVICE = """---
apiVersion: v1
kind: Service
metadata: {name: second}
spec: {selector: {app: blue}, ports: [{port: 81, targetPort: 80}]}
"""


def scaled(path, replicas):
    text, count = BLUE_REPLICAS.subn(rf"\g<1>{replicas}", path.read_text(), count=1)
    assert 1 == count
    path.write_text(text)
    return path


def answers(lab, address, requests):
    """Return which pods answered through a Service, asked from node1."""
    command = f"for i in $(seq {requests}); do curl -s -m 2 -o /dev/null -w '%header{{x-netlab-pod}}\\n' http://{address}/; done"
    return set(lab.exec("node1", "sh", "-c", command).stdout.split())


def test_replicas_follow(lab, editable):
    """10 replicas all answer; 3, 0 and 5 follow; with 0 the connection is refused at once."""
    topology = scaled(editable("quickstart.yaml"), 10)
    lab.up(topology)
    address = lab.service("blue")["clusterIP"]

    assert 10 == len(answers(lab, address, 150))

    for replicas in (3, 0, 5):
        lab.up(scaled(topology, replicas))
        assert replicas == len(lab.pods("blue-"))
        if replicas:
            assert {pod["name"] for pod in lab.pods("blue-")} == answers(lab, address, 60)
        else:
            refused = lab.exec("node1", "curl", "-s", "-m", "2", f"http://{address}/", check=None)
            assert 7 == refused.returncode  # curl: connection refused, not 28: timed out


QUIET = 1.5  # seconds: the kernel tells late news of links (linkwatch) at most once a second
KERNELS_OWN = (" STALE", " REACHABLE", " DELAY", " PROBE", "# new generation")  # states of neighbours come and go by themselves


MONITORS = (  # what reads the kernel's notifications, rtnetlink's and nftables'; what makes a mark, and the line that tells of it
    ("ip monitor link address route neigh", "ip route add blackhole 192.0.2.{}", "blackhole 192.0.2.{}"),
    ("nft monitor", "nft add table ip mark{}", "add table ip mark{}"),
)


class Monitor:
    """Reads the notifications of changes in a namespace: what was told before a mark was done before it."""

    def __init__(self, namespace, command, makes, line):
        self.inside = ["ip", "netns", "exec", namespace]
        self.makes, self.line, self.numbers = makes, line, count(100)
        self.process = subprocess.Popen([*self.inside, *command.split()], stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        while self.told(0.1) is None:
            pass  # it listens when it tells of a mark

    def _read(self, patience):
        ready, _, _ = select.select([self.process.stdout], [], [], patience)
        return (self.process.stdout.read() or b"").decode() if ready else ""

    def told(self, patience=TIME_LIMIT):
        """Make a mark and return all lines told before it; None when it is not told."""
        number = next(self.numbers)
        subprocess.run([*self.inside, *self.makes.format(number).split()], check=True)
        text, mark = "\n", f"\n{self.line.format(number)}"
        while mark not in text:
            if not (more := self._read(patience)):
                return None
            text += more
        lines = text.partition(mark)[0].splitlines()
        return [line for line in lines if line.strip() and not any(mark in line for mark in KERNELS_OWN)]

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def wait_for_silence(monitors):
    """Return when none of them has told anything for QUIET seconds."""
    while ready := select.select([monitor.process.stdout for monitor in monitors], [], [], QUIET)[0]:
        for stream in ready:
            stream.read()


def test_second_up_changes_nothing(lab, editable):
    """`up` of the same file writes no object and nothing in any node's kernel."""
    topology = editable("quickstart.yaml")
    lab.up(topology)
    hosts = ("node1", "node2", "node3", "edge", "fabric")
    monitors = [Monitor(f"{lab.name}-{host}", *monitor) for host in hosts for monitor in MONITORS]
    lab.up(topology)  # the monitors' marks are a stranger's changes, which agents compare with a draft: once, here
    wait_for_silence(monitors)

    again = lab.up(topology)
    written = [monitor.told() for monitor in monitors]
    for monitor in monitors:
        monitor.stop()

    assert "nothing to do" in again.stderr
    assert [[]] * len(monitors) == written


@pytest.mark.parametrize("change", ["node", "service"])
def test_additions(lab, editable, change):
    """A node or a Service added to the file is added to the running lab, and every path works."""
    topology = editable("quickstart.yaml")
    lab.up(topology)
    text = topology.read_text()
    if change == "node":
        text = text.replace("    - {name: node3", "    - {name: node4}\n    - {name: node3", 1)
    else:
        text += SECOND_SERVICE
    topology.write_text(text)

    lab.up(topology)
    record = lab.test()

    assert {"pass"} == {check["verdict"] for check in record["checks"]}
    names = {item["name"] for item in (*lab.status()["nodes"], *lab.status()["services"])}
    assert {"node": "node4", "service": "second"}[change] in names


def test_a_node_leaves(lab, editable):
    """A node that left the file goes with its pods; the others forget it, and every path works."""
    topology = editable("quickstart.yaml")
    lab.up(topology)
    text = topology.read_text()
    topology.write_text(re.sub(r"    - \{name: node3.*\n", "", text, count=1))

    lab.up(topology)
    record = lab.test()

    assert ["node1", "node2"] == [node["name"] for node in lab.status()["nodes"]]
    assert {"pass"} == {check["verdict"] for check in record["checks"]}
    assert "10.244.3." not in lab.exec("node1", "ip", "route").stdout
