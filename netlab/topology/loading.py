"""From texts to a Topology: read, decode, validate; all problems of all files at once, in file order.

1. Every document is read with its positions (`document`); of a `List` the items count as documents.
2. Its apiVersion and kind choose the type; the decoder and the rules of its kind look at it alone.
3. The rules between objects look at all of them.
A document that cannot be understood at all does not hide the faults of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from netlab.api import resources as r
from netlab.api.lab import Lab, Networking
from netlab.api.resources import BY_KIND, Json, Resource
from netlab.errors import InvalidTopologyError
from netlab.topology import lists, syntax
from netlab.topology.decoding import decode, described, typed
from netlab.topology.document import Document, Position, Source, documents
from netlab.topology.foreign import foreign_sentence
from netlab.topology.from_server import is_made_by_netlab, without_server_fields
from netlab.topology.manifest import Finding, Item, Manifest, NamedImage, Topology
from netlab.topology.problem import (
    NOT_SUPPORTED,
    TYPE_INVALID,
    Problem,
    Steps,
    did_you_mean,
    forbidden,
    invalid,
    path_text,
    printable,
    quoted,
    required,
)
from netlab.topology.rules.labs import MOST_NODES, reserved_host_problems
from netlab.topology.rules.notes import notes
from netlab.topology.rules.placement import containers_of, placement_problems
from netlab.topology.rules.together import declared_namespaces, together_problems
from netlab.topology.validation import value_problems

# The kinds a topology may hold. The others of the API server are made by netlab: why, in a word.
MANIFEST_RESOURCES: tuple[Resource[Any], ...] = (
    r.NAMESPACES, r.PODS, r.SERVICES, r.ENDPOINTS, r.ENDPOINT_SLICES, r.CONFIG_MAPS, r.SECRETS,
    r.DEPLOYMENTS, r.REPLICA_SETS, r.DAEMON_SETS,
)  # fmt: skip
MADE_BY_NETLAB = {
    "Node": "list the nodes in spec.nodes of the Lab",
    "Event": "netlab creates Events itself",
    "Lease": "netlab creates Leases itself, as heartbeats of its processes",
}
NO_GENERATED_NAME = "set metadata.name: `netlab up` finds the objects of a file by their names"
LAB_FIRST = "the first document of a topology is the Lab: apiVersion: netlab/v1alpha1, kind: Lab"


@dataclass
class _Report:
    """Faults with their places, printed in the order of the files."""

    order: dict[str, int]
    lines: list[tuple[int, Position, str]] = field(default_factory=list)

    def add(self, source: str, position: Position, text: str) -> None:
        line, column = position
        name = printable(source) if not source.isprintable() else source
        self.lines.append((self.order[source], position, f"{name}:{line}:{column}: {text}"))

    def problem(self, document: Document, at: Steps, problem: Problem) -> None:
        steps = (*at, *problem.steps)
        text = f"{path_text(steps)}: {problem.message}" if steps else problem.message
        self.add(document.source, document.position(steps, at_key=problem.at_key), text)

    def findings(self, findings: Iterator[Finding]) -> None:
        for item, problem in findings:
            if item.decoded.excused((problem,)):
                self.problem(item.document, item.at, problem)

    def sorted(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(text for _, _, text in sorted(self.lines)))


def load(sources: Sequence[Source], *, runtime: str = "") -> Topology:
    """Return the topology that these texts describe, the topology file first, then the files of its spec.manifests.

    `runtime` replaces the file's: what is right depends on it.
    Raises InvalidTopologyError with every fault found, each `file:line:column: path: what is wrong`.
    """
    order = {source.name: index for index, source in reversed(list(enumerate(sources)))}
    report, hints = _Report(order), _Report(order)
    items = _items(sources, report, runtime)
    lab_item = next((item for item in items if item.resource is r.LABS), None)
    own = [item for item in items if is_made_by_netlab(item)]
    items = [item for item in items if item not in own]
    manifests = [item for item in items if item.resource is not r.LABS]
    lab = lab_item.obj if lab_item else Lab()
    assert isinstance(lab, Lab)  # noqa: S101  (for the type checker: the kind implies it)
    networking = _usable(lab_item)
    for item in items:
        found = value_problems(item.resource, item.decoded, networking)
        values = [problem for problem in found if problem.steps[:1] != ("status",)]  # a file's status is ignored
        for problem in (*item.decoded.unknown, *item.decoded.types, *values):
            report.problem(item.document, item.at, problem)
    if lab_item:
        report.findings(together_problems(lab, manifests))
        report.findings(placement_problems(lab, manifests))
        hosts = reserved_host_problems(lab.spec, declared_namespaces(manifests))
        report.findings((lab_item, problem) for problem in hosts)
    if report.lines or lab_item is None:
        raise InvalidTopologyError(report.sorted())
    hints.findings((item, Problem(("metadata", "name"), "left out: netlab creates this object in every lab")) for item in own)
    hints.findings(notes(lab, lab_item, manifests))
    stated = "nodeSubnet" in (lab_item.decoded.body["spec"].get("networking") or {})
    bodies, images = tuple(_manifest(item) for item in manifests), tuple(_images(manifests))
    return Topology(lab, bodies, hints.sorted(), images=images, states_node_subnet=stated)


def manifest_paths(source: Source) -> tuple[str, ...]:
    """Return spec.manifests of the Lab, for the caller to read; empty when the file is wrong, which `load` then reports."""
    found, _ = documents(source)
    value = found[0].value if found else None
    for step in ("spec", "manifests"):
        value = value.get(step) if isinstance(value, dict) else None
    paths = value if isinstance(value, list) else []
    return tuple(path for path in paths if isinstance(path, str) and not syntax.FILE_PATH.fault(path))


def manifest_problem(source: Source, path: str, what: str) -> InvalidTopologyError:
    """Return the error for an entry of spec.manifests that the caller cannot read."""
    found, _ = documents(source)
    report = _Report({source.name: 0})
    index = manifest_paths(source).index(path)
    report.problem(found[0], (), Problem(("spec", "manifests", index), f"Not found: {quoted(path)}: {what}"))
    return InvalidTopologyError(report.sorted())


def _usable(lab_item: Item | None) -> Networking | None:
    """Return the Lab's ranges when they are sound, to check addresses and ports against."""
    if lab_item is None or not isinstance(lab_item.obj, Lab):
        return None
    faults = (*lab_item.decoded.types, *value_problems(lab_item.resource, lab_item.decoded, None))
    return None if any(p.steps[:2] == ("spec", "networking") for p in faults) else lab_item.obj.spec.networking


def _items(sources: Sequence[Source], report: _Report, runtime: str) -> list[Item]:
    """Return the objects of all files whose kind is known; report everything else."""
    items: list[Item] = []
    is_first = True
    for source in sources:
        found, misreads = documents(source)
        for misread in misreads:
            report.add(source.name, misread.position, misread.message)
        for document in found:
            if is_first and (sentence := foreign_sentence(document.value)):
                raise InvalidTopologyError((f"{source.name}:1:1: {sentence}",))
            if lists.is_list(document.value):
                for problem in lists.problems(document.value):
                    report.problem(document, (), problem)
            for at, value in _objects(document.value):
                item = _item(document, at, value, report, expected_lab=is_first, runtime=runtime)
                is_first = False
                if item:
                    items.append(item)
    if is_first and not report.lines:
        name = sources[0].name if sources else "topology.yaml"
        report.order.setdefault(name, 0)
        report.add(name, (1, 1), f"the file contains no document; {LAB_FIRST}")
    return items


def _objects(value: Any) -> Iterator[tuple[Steps, Any]]:
    """Yield the objects of a document: itself, or the items of a List."""
    if lists.is_list(value):
        yield from lists.items(value)
    else:
        yield (), value


def _item(document: Document, at: Steps, value: Any, report: _Report, *, expected_lab: bool, runtime: str) -> Item | None:
    fault = _kind_problem(value, expected_lab=expected_lab)
    if fault:
        report.problem(document, at, fault)
        return None
    resource = BY_KIND[value["apiVersion"], value["kind"]]
    if resource is r.LABS:
        if fault := _nodes_problem(value):
            report.problem(document, at, fault)
        value = _with_runtime(_expanded(value), runtime)
    value, left_out = without_server_fields(resource, value)
    decoded = decode(value, resource.type)
    obj = typed(decoded, resource.type)
    if obj.metadata.generate_name and not obj.metadata.name:
        report.problem(document, at, forbidden(("metadata", "generateName"), NO_GENERATED_NAME))
    return Item(document, at, resource, decoded, obj, left_out)


def _kind_problem(value: Any, *, expected_lab: bool) -> Problem | None:
    """Return why a document is not an object that a topology can contain."""
    if not isinstance(value, dict):
        return Problem((), f"expected a map of fields, got {described(value)}", TYPE_INVALID)
    for name in ("apiVersion", "kind"):
        if value.get(name) is None:
            return required((name,), LAB_FIRST if expected_lab else "every document needs apiVersion and kind")
        if not isinstance(value[name], str):
            return Problem((name,), f"expected text, got {described(value[name])}", TYPE_INVALID)
    is_lab = (value["apiVersion"], value["kind"]) == (r.LABS.api_version, r.LABS.kind)
    if expected_lab and not is_lab:
        return Problem(("kind",), f"{LAB_FIRST}; got {quoted(value['kind'])} of {quoted(value['apiVersion'])}", NOT_SUPPORTED)
    if is_lab and not expected_lab:
        return Problem(("kind",), "a topology has exactly one Lab, the first document of the file", NOT_SUPPORTED)
    return None if is_lab else _unknown_kind(value["apiVersion"], value["kind"])


def _unknown_kind(api_version: str, kind: str) -> Problem | None:
    if why := MADE_BY_NETLAB.get(kind):
        return Problem(("kind",), f"Unsupported value: {quoted(kind)}: {why}", NOT_SUPPORTED)
    versions = {resource.kind: resource.api_version for resource in MANIFEST_RESOURCES}
    if kind not in versions:
        known = ", ".join(versions)
        hint = did_you_mean(kind, versions)
        return Problem(("kind",), f"Unsupported value: {quoted(kind)}: netlab supports {known}{hint}", NOT_SUPPORTED)
    if api_version != versions[kind]:
        words = f'Unsupported value: {quoted(api_version)}: the apiVersion of {kind} is "{versions[kind]}"'
        return Problem(("apiVersion",), words, NOT_SUPPORTED)
    return None


def _nodes_problem(value: Json) -> Problem | None:
    """Return why the nodes of a Lab are neither a list nor a number in bounds: only files may contain a number."""
    spec = value.get("spec")
    nodes = spec.get("nodes") if isinstance(spec, dict) else None
    if isinstance(nodes, int) and nodes > MOST_NODES:
        return invalid(("spec", "nodes"), nodes, f"a lab has at most {MOST_NODES} nodes")
    if nodes is None or isinstance(nodes, list) or _is_count(nodes):
        return None
    return Problem(("spec", "nodes"), f"expected a number or a list, got {described(nodes)}", TYPE_INVALID)


def _is_count(nodes: Any) -> bool:
    return isinstance(nodes, int) and not isinstance(nodes, bool)


def _expanded(value: Json) -> Json:
    """Replace `nodes: 3` of a Lab by node1, node2, node3."""
    spec = value.get("spec")
    if not isinstance(spec, dict) or spec.get("nodes") is None or isinstance(spec["nodes"], list):
        return value
    count = max(spec["nodes"], 0) if _is_count(spec["nodes"]) else 1
    count = count if count <= MOST_NODES else 1  # refused as a number: no further fault follows from it
    return {**value, "spec": {**spec, "nodes": [{"name": f"node{number}"} for number in range(1, count + 1)]}}


def _with_runtime(value: Json, runtime: str) -> Json:
    """Replace the runtime of a Lab, if another is asked for."""
    spec = value.get("spec")
    return {**value, "spec": {**spec, "runtime": runtime}} if runtime and isinstance(spec, dict) else value


def _images(items: Sequence[Item]) -> Iterator[NamedImage]:
    """Yield the images that pods name, in file order."""
    for item in items:
        for steps, container in containers_of(item.pods) if item.pods else ():
            at = (*steps, "image")
            line, column = item.document.position((*item.at, *at))
            yield NamedImage(container, f"{item.document.source}:{line}:{column}: {path_text((*item.at, *at))}")


def _manifest(item: Item) -> Manifest:
    body = {key: value for key, value in item.decoded.body.items() if key != "status"}
    metadata = body.get("metadata", {})
    if item.resource.namespaced:
        metadata = {**metadata, "namespace": item.namespace}
    return Manifest(item.resource, {**body, "metadata": metadata}, item.document.source, item.document.position(item.at)[0])
