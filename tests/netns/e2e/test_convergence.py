"""`up` on an edited file converges; on an unchanged one it does nothing, not even in the kernel."""

from __future__ import annotations

import os
import re
import select
import subprocess

import pytest

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


class Monitor:
    """Reads the kernel's notifications of changes in a namespace: rtnetlink's and nftables'."""

    def __init__(self, namespace):
        commands = (["ip", "monitor", "link", "address", "route", "neigh"], ["nft", "monitor"])
        self.processes = [
            subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdout=subprocess.PIPE) for command in commands
        ]
        self.poll = select.poll()
        for process in self.processes:
            os.set_blocking(process.stdout.fileno(), False)
            self.poll.register(process.stdout, select.POLLIN)

    def read(self, patience=0.0):
        """Return the lines told until there was silence for `patience` seconds."""
        told = b""
        while self.poll.poll(patience * 1000):
            told += b"".join(process.stdout.read() or b"" for process in self.processes)
        return [line for line in told.decode().splitlines() if line.strip() and not any(mark in line for mark in KERNELS_OWN)]

    def stop(self):
        for process in self.processes:
            process.terminate()
            process.wait()
            process.stdout.close()


def test_second_up_changes_nothing(lab, editable):
    """`up` of the same file writes no object and nothing in any node's kernel."""
    topology = editable("quickstart.yaml")
    lab.up(topology)
    monitors = [Monitor(f"{lab.name}-{host}") for host in ("node1", "node2", "node3", "edge", "fabric")]
    for monitor in monitors:
        monitor.read(QUIET)

    again = lab.up(topology)
    written = [line for monitor in monitors for line in monitor.read(0.2)]
    lab.exec("node1", "ip", "link", "set", "cni0", "alias", "x")  # the monitors do hear
    heard = monitors[0].read(0.2)
    for monitor in monitors:
        monitor.stop()

    assert "nothing to do" in again.stderr
    assert [] == written
    assert heard


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
