"""Pods that talk take no room in the machine's neighbor table, which all its network namespaces share (findings P1)."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

TOPOLOGY = Path(__file__).parent / "damage.yaml"
PODS = {"node1": ("web1", "shell"), "node2": ("web2",)}
GONE = 20  # seconds for a pod to be removed


def entries(lab, name, device):
    """Return the state of each entry of a device, by address."""
    command = ["ip", "-n", f"{lab.name}-{name}", "-j", "neigh", "show", "dev", device]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {entry["dst"]: entry["state"] for entry in found}


def test_pods_and_nodes_learn_nothing_of_each_other(make_lab, tmp_path):
    """After a test of everything the entries of pods for gateways and of nodes for pods are the permanent ones, and no other."""
    lab = make_lab(f"t{os.getpid()}n")
    lab.up(TOPOLOGY)
    record = lab.test()
    addresses = {pod["name"]: pod["ip"] for pod in lab.status()["pods"]}

    assert [] == record["machine"]
    for number, (node, pods) in enumerate(PODS.items(), start=1):
        assert {addresses[pod]: ["PERMANENT"] for pod in pods} == entries(lab, node, "cni0")
        gateway = f"10.244.{number}.1"
        assert [["PERMANENT"]] * len(pods) == [entries(lab, f"default-{pod}", "eth0").get(gateway) for pod in pods]

    lab.up(without_shell(tmp_path))
    until = time.monotonic() + GONE
    while addresses["shell"] in entries(lab, "node1", "cni0") and time.monotonic() < until:
        time.sleep(0.1)

    assert {addresses["web1"]: ["PERMANENT"]} == entries(lab, "node1", "cni0")


def without_shell(folder):
    """Return a file of the same lab without one of its pods."""
    documents = TOPOLOGY.read_text().split("---\n")
    edited = folder / "edited.yaml"
    edited.write_text("---\n".join(text for text in documents if "name: shell" not in text))
    return edited
