"""The topologies in topologies/: valid, without hints, and as their lessons need them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from netlab.topology import Source, Topology, load, schema

FOLDER = Path(__file__).parents[3] / "topologies"
FILES = sorted(FOLDER.glob("*.yaml"))
NAMES = {
    "quickstart", "cluster-ip", "node-port", "load-balancer", "external-name", "headless", "no-selector",
    "session-affinity", "traffic-policy-local", "multi-container", "readiness",
}  # fmt: skip


def loaded(name: str) -> Topology:
    path = FOLDER / f"{name}.yaml"
    return load([Source(path.name, path.read_text())])


def body(name: str, kind: str, obj: str) -> dict:
    return next(m.body for m in loaded(name).manifests if (m.resource.kind, m.body["metadata"]["name"]) == (kind, obj))


def test_every_lesson_is_there() -> None:
    """There is one file per lesson, the lab of each has its name."""
    names = {loaded(path.stem).lab.metadata.name for path in FILES}

    assert names == NAMES == {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_lesson_is_valid_without_hints(path: Path) -> None:
    """A file that teaches has no fault and nothing that is probably not meant."""
    topology = loaded(path.stem)

    assert topology.notes == ()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_lesson_names_its_schema_and_three_commands(path: Path) -> None:
    """The header points editors to the schema and the reader to what to type."""
    text = path.read_text()
    commands = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   netlab ")]

    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert commands[:2] == [f"netlab up topologies/{path.name}", "netlab test connectivity"]
    assert [command.partition(" -- ")[0].rpartition(" ")[0] for command in commands[2:]] == ["netlab exec"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_lesson_follows_the_schema(path: Path) -> None:
    """What load accepts in a lesson, an editor accepts too."""
    validator = jsonschema.Draft202012Validator(schema())
    faults = [error.message for document in yaml.safe_load_all(path.read_text()) for error in validator.iter_errors(document)]

    assert faults == []


def test_the_committed_schema_is_current() -> None:
    """topologies/schema.json is what `netlab schema` prints; write it again after a change of the types."""
    committed = json.loads((FOLDER / "schema.json").read_text())

    assert committed == schema()


@pytest.mark.parametrize(
    ("lesson", "service", "expected"),
    [
        ("node-port", "super-app-nodeport", (80, 80, 30001)),
        ("node-port", "sample-node-svc", (9100, 80, 31000)),
        ("load-balancer", "sample-lb-svc", (8000, 80, None)),
        ("load-balancer", "kuard", (80, 8080, None)),
        ("cluster-ip", "sample-svc", (8080, 80, None)),
    ],
)
def test_the_ports_of_the_lessons(lesson: str, service: str, expected: tuple) -> None:
    """The numbers are those of the lessons that users come from."""
    port = body(lesson, "Service", service)["spec"]["ports"][0]

    assert (port["port"], port["targetPort"], port.get("nodePort")) == expected


def test_quickstart_shows_every_common_service() -> None:
    """Three nodes, a client, a pool, and blue behind a ClusterIP, a NodePort and a LoadBalancer Service."""
    topology = loaded("quickstart")
    types = {
        m.body["metadata"]["name"]: m.body["spec"].get("type", "ClusterIP")
        for m in topology.manifests
        if m.resource.kind == "Service"
    }

    assert [node.name for node in topology.lab.spec.nodes] == ["node1", "node2", "node3"]
    assert [client.name for client in topology.lab.spec.clients] == ["client"]
    assert topology.lab.spec.load_balancer is not None
    assert types == {
        "blue": "ClusterIP", "blue-nodeport": "NodePort", "blue-lb": "LoadBalancer", "kuard": "ClusterIP", "echo": "ClusterIP",
    }  # fmt: skip
