"""`up` on an edited file converges; on an unchanged one it does nothing, not even in the kernel."""

from __future__ import annotations

import re
import subprocess
import threading

import pytest

BLUE_REPLICAS = re.compile(r"(name: blue\n(?:.*\n)*?  replicas: )\d+")


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


class Monitor:
    """Counts kernel changes in a namespace: rtnetlink and nftables notifications."""

    def __init__(self, namespace):
        commands = (["ip", "monitor", "link", "address", "route", "neigh"], ["nft", "monitor"])
        self.processes = [
            subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdout=subprocess.PIPE, text=True) for command in commands
        ]
        self.lines = []
        self.threads = [threading.Thread(target=self.lines.extend, args=(p.stdout,)) for p in self.processes]
        for thread in self.threads:
            thread.start()

    def stop(self):
        for process in self.processes:
            process.terminate()
            process.wait()
        for thread in self.threads:
            thread.join()
        for process in self.processes:
            process.stdout.close()
        # a neighbour that goes from REACHABLE to STALE is the kernel's own doing
        return [line for line in self.lines if " STALE" not in line and " REACHABLE" not in line and " DELAY" not in line and " PROBE" not in line]


def test_second_up_changes_nothing(lab, editable):
    """`up` of the same file writes no object and nothing in any node's kernel."""
    topology = editable("quickstart.yaml")
    lab.up(topology)
    monitors = [Monitor(f"{lab.name}-{host}") for host in ("node1", "node2", "node3", "edge", "fabric")]

    again = lab.up(topology)
    written = [line for monitor in monitors for line in monitor.stop()]

    assert "nothing to do" in again.stderr
    assert [] == written


@pytest.mark.parametrize("change", ["node", "service"])
def test_additions(lab, editable, change):
    """A node or a Service added to the file is added to the running lab, and every path works."""
    topology = editable("quickstart.yaml")
    lab.up(topology)
    text = topology.read_text()
    if change == "node":
        text = text.replace("    - {name: node3", "    - {name: node4}\n    - {name: node3", 1)
    else:
        text += "---\n{apiVersion: v1, kind: Service, metadata: {name: second}, spec: {selector: {app: blue}, ports: [{port: 81, targetPort: 80}]}}\n"
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
