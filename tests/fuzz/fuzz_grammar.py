"""Topologies for the search: base files, one with every field of every kind, and random mutants.

The grammar is the JSON Schema that netlab makes from its models (`netlab.topology.schema`): the
file with every field is generated from it, and so are the values and fields that a mutation puts
in. Half of the mutations keep a document's form (a value of the same type, a field that its schema
knows), so that many mutants are accepted and reach what is behind the front end.
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from netlab.api.resources import BY_KIND, RESOURCES, Resource
from netlab.topology import problems_of, schema, unknown_fields
from netlab.topology.loading import MANIFEST_RESOURCES

TESTS = Path(__file__).parents[1]
FILES = (*sorted((TESTS.parent / "topologies").glob("*.yaml")), *sorted(TESTS.glob("**/*.yaml")))
EVERYTHING = 0.25  # of the mutants are made of the file with every field
TRIES = 8  # to find a mutation that an object's rules allow
Body = dict[str, Any]
Documents = list[Any]
Steps = tuple[str | int, ...]

# Values for fields whose schema alone does not say what fits, by the field's name.
WORDS: dict[str, tuple[Any, ...]] = {
    "name": ("web", "cfg", "a", "x" * 63, "x" * 64, "x" * 253, "web.example", "-", "Web"),
    "namespace": ("default", "other", "kube-system", "none"),
    "image": ("nginx", "jpetazzo/color", "busybox", "netlab/echo", "gcr.io/kuar-demo/kuard-amd64:1", "agnhost", ""),
    "fieldPath": ("metadata.name", "metadata.labels", "metadata.labels['app']", "status.podIP", "spec.nodeName", "x"),
    "resource": ("limits.cpu", "requests.memory", "limits", "cpu", "limits.", "limits.ephemeral-storage"),
    "resources": (5, [], {"limits": 5}, {"limits": {"cpu": 1}}, {"limits": {"cpu": None}}, {"requests": {"memory": [1]}}),
    "addresses": (["10.9.9.9"], ["10.244.1.2"], [], ["::1"], [{"ip": "10.9.9.9"}]),
    "ip": ("10.9.9.9", "127.0.0.1", "10.244.1.2", "::1", "010.1.1.1"),
    "clusterIP": ("None", "10.96.7.7", "10.96.0.10", "10.96.0.1", "1.1.1.1", ""),
    "externalName": ("example.com", "web.default.svc.cluster.local", "a" * 64, "."),
    "targetPort": (80, "http", 65535, "a" * 15, 0, "80"),
    "replicas": (0, 1, 3, 7, -1),
    "cidr": ("10.0.0.0/8", "0.0.0.0/0", "10.0.0.1/8", "::/0"),
    "podSubnet": ("10.244.0.0/16", "10.1.0.0/20", "10.244.0.0/30"),
    "pool": ("198.51.100.0/24", "198.51.100.7/32", "198.51.100.0/31"),
    "nodes": (1, 2, [{"name": "n1"}]),
    "selector": ({"app": "web"}, {}, {"matchLabels": {"app": "web"}}),
    "labels": ({"app": "web"}, {}, {"a.b/c": ""}, {"app": "x" * 63}),
    "data": ({"k": "v"}, {"k": "\u00e9\n"}, {"K": "/w=="}, {"k": "dg=="}),
    "optional": (True, False),
    "hostnames": (["a.example"], ["x" * 64], []),
    "hostNetwork": (False, True),
    "nodeName": ("node1", "node2", "", "none"),
    "nameservers": (["10.9.9.9"], ["::1"], []),
    "hostIP": ("127.0.0.1", "0.0.0.0", "x"),
    "add": (["NET_ADMIN"], ["ALL"], ["CAP_X"], []),
    "drop": (["NET_RAW"], ["ALL"], []),
    "hostPort": (8080, 0, 65535),
    "value": ("", "v", "$(A)", "$(B)$$(C)", "x" * 1000),
    "args": (["-text=hi"], ["netexec", "--http-port=80"], ["$(A)", "$$(A)", "$("], ["--port=99999"], [""]),
    "command": (["sleep", "inf"], ["/agnhost", "netexec"], [""], []),
}
VALUES_FROM: tuple[Body, ...] = (  # at most one of these in a variable
    {"fieldRef": {"fieldPath": "metadata.labels['app']"}},
    {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}},
    {"configMapKeyRef": {"name": "cfg", "key": "k", "optional": True}},
    {"secretKeyRef": {"name": "cfg", "key": "k", "optional": True}},
)
ANYTHING: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 65535, 65536, 2**31, 2**63, 10**30, 1.5, float("inf"), "", " ", "a", "A", "-", ".", "0", "yes",
    "\n", "\t", "\x7f", "\u00e9", "\u2028", "\U0001f600", "{}", '"', "'", "a b", "a\nb", "$(A)", "../x", "a" * 300, "1" * 5000,
    [], [None], ["a"], [["a"]], {}, {"": None}, {"a": {"a": {"a": 1}}}, {"limits": 5}, "10.0.0.1", "10.0.0.0/8", "::1",
)  # fmt: skip
TEXTS = tuple(value for value in ANYTHING if isinstance(value, str))
COMBINED = ("allOf", "anyOf", "oneOf")
NO_WORD = object()


@functools.cache
def definitions() -> Body:
    """Return the schema's definitions by the name of the type."""
    return schema()["$defs"]


@functools.cache
def bases() -> tuple[Documents, ...]:
    """Return the documents of every file, and of the one with every field."""
    read = [list(yaml.safe_load_all(path.read_text())) for path in FILES]
    return (*(documents for documents in read if _is_topology(documents)), everything())


def _is_topology(documents: Documents) -> bool:
    return bool(documents) and isinstance(documents[0], dict) and documents[0].get("kind") == "Lab"


# ---- every field of every kind
def everything() -> Documents:
    """Return a topology with one object of every kind that sets every field its rules allow beside the others."""
    lab = {
        "apiVersion": "netlab/v1alpha1",
        "kind": "Lab",
        "metadata": {"name": "all"},
        "spec": {"nodes": 2, "clients": [{"name": "client"}], "loadBalancer": {"provider": "edge", "pool": "198.51.100.0/24"}},
    }
    return [lab, *map(allowed, MANIFEST_RESOURCES)]


def allowed(resource: Resource[Any]) -> Body:
    """Return an object of a kind with every field, but for those that its rules refuse."""
    kind = resource.kind
    body = generated(definitions()[kind], kind, Every())
    body["metadata"] = {"name": kind.lower(), "labels": {"app": "web"}, "annotations": {"note": "x"}}
    if resource.namespaced:
        body["metadata"]["namespace"] = "default"
    body.pop("status", None)
    for spec in (body.get("spec", {}), body.get("spec", {}).get("template", {}).get("spec", {})):
        for container in spec.get("initContainers", ()):
            container.update(name="init", ports=[])
        for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
            container["env"] = [{"name": f"V{n}", "valueFrom": source} for n, source in enumerate(VALUES_FROM)]
            container["envFrom"] = [{"configMapRef": {"name": "cfg", "optional": True}, "prefix": "P_"}]
            container["resources"] = {"limits": {"cpu": "100m"}}
    if "template" in body.get("spec", {}):
        body["spec"]["selector"] = {"matchLabels": {"app": "web"}}
        body["spec"]["template"]["metadata"] = {"labels": {"app": "web"}}
    while problems := problems_of(resource, body):
        deepest = max(problems, key=lambda problem: len(problem.steps))  # one at a time: of two that exclude each other one stays
        if not _repair(body, deepest.steps):
            raise AssertionError(f"{kind}: {deepest}")
    return body


def _repair(body: Body, steps: Steps) -> bool:
    """Take the value at a path out, or the nearest above it that is there."""
    for length in range(len(steps), 0, -1):
        parent = at(body, steps[: length - 1])
        step = steps[length - 1]
        if isinstance(parent, dict) and step in parent:
            del parent[step]
            return True
        if isinstance(parent, list) and isinstance(step, int) and step < len(parent):
            del parent[step]
            return True
    return False


class Every:
    """Chooses every field, one item of a list, and the first of all words."""

    def one(self, values: Sequence[Any]) -> Any:
        return values[0]

    def fields(self, properties: Body, _needed: Collection[str]) -> list[str]:
        return list(properties)

    def items(self) -> int:
        return 1

    def word(self, node: Body, name: str) -> Any:
        """Return a word for a field, NO_WORD for one that its schema describes well enough."""
        kinds = {"array": list, "object": dict, "integer": int, "boolean": bool, "string": str}
        words = WORDS.get(name, (NO_WORD,))
        return words[0] if isinstance(words[0], kinds.get(node.get("type", ""), object)) else NO_WORD

    def number(self, low: int, _high: int) -> int:
        return low or 1

    def text(self) -> str:
        return "a"

    def inert(self) -> Any:
        return {"any": "thing"}


class Some(Every):
    """Chooses at random, mostly what a schema allows."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def one(self, values: Sequence[Any]) -> Any:
        return self._chance.choice(values)

    def fields(self, properties: Body, needed: Collection[str]) -> list[str]:
        return [name for name in properties if name in needed or self._chance.random() < 0.3]

    def items(self) -> int:
        return self._chance.choice((0, 1, 1, 2, 3))

    def word(self, node: Body, name: str) -> Any:
        del node
        return self._chance.choice(WORDS[name]) if name in WORDS and self._chance.random() < 0.7 else NO_WORD

    def number(self, low: int, high: int) -> int:
        return self._chance.choice((low, high, low + 1, high + 1, self._chance.randint(low, max(low, min(high, low + 100)))))

    def text(self) -> str:
        return self._chance.choice(("a", "web", "http", self._chance.choice(TEXTS)))

    def inert(self) -> Any:
        return self._chance.choice(ANYTHING)


def generated(node: Body, name: str, choice: Every) -> Any:
    """Return a value for a schema."""
    node = resolved(node)
    for key in COMBINED:
        if key in node:
            return generated(choice.one(node[key]), name, choice)
    word = node.get("const", choice.word(node, name))
    if word is NO_WORD:
        word = choice.one(node["enum"]) if "enum" in node else _of_type(node, name, choice)
    return copy.deepcopy(word)


def _of_type(node: Body, name: str, choice: Every) -> Any:
    properties, extra = node.get("properties") or {}, node.get("additionalProperties")
    match node.get("type"):
        case "object" if not properties and isinstance(extra, dict):
            return {"key": generated(extra, "", choice)}
        case "object":
            wanted = choice.fields(properties, node.get("required", ()))
            return {key: generated(properties[key], key, choice) for key in wanted}
        case "array":
            return [generated(node["items"], name, choice) for _ in range(choice.items())]
        case "integer":
            return choice.number(node.get("minimum", 0), node.get("maximum", 2**31 - 1))
        case kind:
            return choice.one((True, False)) if kind == "boolean" else choice.text() if kind == "string" else choice.inert()


def resolved(node: Body) -> Body:
    """Return the schema that a reference points to."""
    return definitions()[node["$ref"].rpartition("/")[2]] if "$ref" in node else node


# ---- mutants
def mutant(chance: random.Random) -> Documents:
    """Return a base file, broken or changed in one to four places."""
    documents = copy.deepcopy(bases()[-1] if chance.random() < EVERYTHING else chance.choice(bases()))
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        position = chance.randrange(len(documents))
        chosen = documents[position]
        if isinstance(chosen, dict) and chosen:
            documents[position] = preferred(chosen, chance)
        if chance.random() < 0.1:
            documents.insert(chance.randrange(1, len(documents) + 1), copy.deepcopy(_any_document(chance)))
    return documents


def preferred(body: Body, chance: random.Random) -> Body:
    """Return a mutation of an object, mostly one that its own rules allow: others end at the front end."""
    resource = BY_KIND.get((str(body.get("apiVersion")), str(body.get("kind"))))
    fresh = mutated(body, chance)
    for _ in range(TRIES if resource else 0):
        if chance.random() < 0.1 or not (unknown_fields(fresh, resource) or problems_of(resource, fresh)):
            break
        fresh = mutated(body, chance)
    return fresh


def mutated(body: Body, chance: random.Random) -> Body:
    """Return an object with one mutation at a random place."""
    body = copy.deepcopy(body)
    steps = chance.choice(list(places(body)))
    parent, step = at(body, steps[:-1]), steps[-1]
    known = schema_at(body, steps)
    kind = chance.choice(("value", "value", "value", "field", "field", "anything", "drop", "twice", "graft", "nest"))
    if kind == "value" and known is not None:
        parent[step] = drawn(known, str(step), chance)
    elif kind == "field" and isinstance(parent[step], dict) and known is not None and (names := _properties(known)):
        name = chance.choice(list(names))
        parent[step][name] = drawn(names[name], name, chance)
    elif kind == "drop":
        del parent[step]
    elif kind == "twice" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[step]))
    elif kind == "graft":
        parent[step] = copy.deepcopy(_grafted(step, chance))
    elif kind == "nest":
        parent[step] = {str(step): parent[step]} if chance.random() < 0.5 else [parent[step]]
    else:
        parent[step] = copy.deepcopy(chance.choice(ANYTHING))
    return body


def drawn(node: Body, name: str, chance: random.Random) -> Any:
    """Return a random value that a schema describes, most of the time."""
    return generated(node, name, Some(chance))


def places(value: Any, steps: Steps = ()) -> Iterator[Steps]:
    """Yield the paths of all values below a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        yield (*steps, step)
        yield from places(inner, (*steps, step))


def at(value: Any, steps: Steps) -> Any:
    """Return the value at a path, None when there is none."""
    for step in steps:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def schema_at(body: Body, steps: Steps) -> Body | None:
    """Return the schema of a path of a document, None where the schema ends."""
    node: Body | None = definitions().get(str(body.get("kind")))
    for step in steps:
        if node is None:
            return None
        node = _child(node, step)
    return node


def _child(node: Body, step: str | int) -> Body | None:
    node = resolved(node)
    for key in COMBINED:
        if key in node:
            return next((found for part in node[key] if (found := _child(part, step)) is not None), None)
    if isinstance(step, int):
        return node.get("items")
    extra = node.get("additionalProperties")
    return (node.get("properties") or {}).get(step) or (extra if isinstance(extra, dict) else None)


def status_schemas() -> dict[str, Body]:
    """Return the schema of the status of every kind that has one; of a kind that no file may hold, one that allows anything."""
    return {r.kind: (definitions().get(r.kind, {}).get("properties") or {}).get("status") or {} for r in RESOURCES}


def _properties(node: Body) -> Body:
    return resolved(node).get("properties") or {}


def _any_document(chance: random.Random) -> Any:
    return chance.choice(chance.choice(bases())[1:] or [{}])


def _grafted(step: str | int, chance: random.Random) -> Any:
    """Return a value that has this key somewhere in some file, else anything."""
    donor = _any_document(chance)
    found = [at(donor, steps) for steps in places(donor) if steps[-1] == step]
    return chance.choice(found) if found else chance.choice(ANYTHING)
