"""One bad pod, byte, name or stored object stops nothing else; `up` with the good file repairs it (findings B2, B3, S6)."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

LONG = "p" * 235
NODE1 = {"nodeName": "node1"}


def document(kind: str, name: str, version: str = "v1", **more: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **more.pop("metadata", {})}, **more}


def pod(name: str, **container: Any) -> dict[str, Any]:
    return document(
        "Pod", name, metadata={"labels": {"app": name[:63]}}, spec={**NODE1, "containers": [{"name": "c", **container}]}
    )


def deployment(name: str, **container: Any) -> dict[str, Any]:
    """Return a Deployment of one pod: what its pod lacks can be put right by an edit of the file."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", **container}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return document("Deployment", name, "apps/v1", spec=spec)


def written(path: Path, *, bad: bool) -> Path:
    """Write the file: one pod of each bad kind, and the same pods put right; documents of JSON are YAML."""
    secret = {"KEY": "/w==" if bad else "YQ=="}
    command = ["sh", "-c", "printf '\\351' >> /etc/hosts; exit 1"] if bad else ["sleep", "infinity"]
    documents = [
        document("Lab", "lab", "netlab/v1alpha1", spec={"nodes": [{"name": "node1"}, {"name": "node2"}]}),
        document("Secret", "bytes", data=secret),
        document("Service", "good", spec={"selector": {"app": "good"}, "ports": [{"port": 80}]}),
        pod("secret", image="nginx", envFrom=[{"secretRef": {"name": "bytes"}}]),
        deployment("port", image="traefik/whoami", env=[{"name": "WHOAMI_PORT_NUMBER", "value": "abc" if bad else "8080"}]),
        deployment("hosts", image="busybox", command=command),
        pod(LONG, image="nginx"),
        pod("good", image="nginx"),
    ]
    path.write_text("".join(f"---\n{json.dumps(body)}\n" for body in documents))
    return path


def states(lab: Any) -> dict[str, str]:
    """Return the state of each pod, by its name or its Deployment's."""
    deployed = ("port", "hosts")
    pods = {p["name"]: p["status"] for p in lab.status()["pods"]}
    return {next((d for d in deployed if name.startswith(f"{d}-")), name): status for name, status in pods.items()}


def answers(lab: Any) -> str:
    url = "http://good.default.svc.cluster.local/"
    return lab.exec("node2", "curl", "-s", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", url).stdout


def test_a_lab_with_one_of_each_bad_pod_comes_up_and_is_repaired(lab: Any, tmp_path: Path) -> None:
    """Every other pod is Ready and every bad one says why; with the good file all run."""
    up = lab.up(written(tmp_path / "lab.yaml", bad=True))
    before = states(lab)
    served = answers(lab)
    lab.exec("node1", "sh", "-c", r"printf 'caf\351\n' >> /etc/hosts")  # bytes that are no text, on a host, too
    lab.exec("good", "sh", "-c", r"printf 'caf\351\n' > /etc/hostname")
    lab.exec("good", "true")
    lab.up(written(tmp_path / "lab.yaml", bad=False))
    after = states(lab)

    assert {name: before[name] for name in ("good", LONG)} == {"good": "Running", LONG: "Running"}
    assert before["secret"] == "CreateContainerError"
    assert {before["port"], before["hosts"]} <= {"CrashLoopBackOff", "Running", "ContainerCreating"}
    for words in ("environment variable KEY: the value is not valid UTF-8", "unknown port"):
        assert words in up.stderr
    assert served == "200"
    assert set(after.values()) == {"Running"}
    assert {check["verdict"] for check in lab.test()["checks"]} == {"pass"}
    lab.down()


DAMAGE = [
    pytest.param("services", "good", b"\x00\xff", id="a Service that is no JSON"),
    pytest.param(
        "pods", "good", b'{"metadata":{"name":"good","namespace":"default","resourceVersion":"9"},"spec":7}', id="no Pod"
    ),
]


@pytest.mark.parametrize(("resource", "name", "body"), DAMAGE)
def test_a_damaged_object_keeps_no_daemon_from_starting(lab: Any, tmp_path: Path, resource: str, name: str, body: bytes) -> None:
    """The daemon starts without it and names it in its log; the same `up` writes it again."""
    file = written(tmp_path / "lab.yaml", bad=False)
    lab.up(file)
    os.kill(lab.pid("daemon"), signal.SIGKILL)
    with sqlite3.connect(lab.state / "store.db") as database:
        changed = database.execute("UPDATE objects SET body = ? WHERE resource = ? AND name = ?", (body, resource, name)).rowcount
    database.close()
    lab.up(file)

    assert changed == 1
    assert f"object=damaged resource={resource} key=default/{name}" in (lab.state / "logs/daemon.log").read_text()
    assert set(states(lab).values()) == {"Running"}
    assert answers(lab) == "200"
    lab.down()
