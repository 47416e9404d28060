"""Documents to text: JSON, YAML, or tables as kubectl prints them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from netlab.api.resources import Json
from netlab.cli.options import Format


def document(body: Json | list[Json], form: Format) -> str:
    """Return a document as JSON or YAML text."""
    if form is Format.YAML:
        import yaml

        text: str = yaml.safe_dump(body, sort_keys=False, default_flow_style=False)
        return text.rstrip("\n")
    return json.dumps(body, indent=2)


def counted(number: int, noun: str) -> str:
    """Return `1 process`, `2 processes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns under a title, as kubectl prints them, readable in pipes, too."""
    lines = [list(columns), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([f"{title}:"] * bool(title) + [f"  {line}" for line in text])


def status(body: Json) -> str:
    """Return a lab's status as tables."""
    if not body["running"]:
        left = f"; on record: {', '.join(body['namespaces'])}" if body["namespaces"] else ""
        remedy = f"Start it again: netlab up FILE. Remove it: netlab down {body['name']}."
        return f"Lab {body['name']}: the daemon is not running{left}\n{remedy}"
    parts = [*((f"node {node['name']}", node) for node in body["nodes"]), ("the edge", body["edge"])]
    problems = [*(f"{name}: {part['message']}" for name, part in parts if part["message"]), *body["problems"]]
    counts = ", ".join(counted(len(body[f"{kind}s"]), kind) for kind in ("node", "pod", "service"))
    sections = [
        f"Lab {body['name']}: {counts}  (runtime {body['runtime']}, kube-proxy mode {body['kubeProxyMode']})",
        table(
            "Nodes",
            ("NAME", "STATUS", "ADDRESS", "POD-CIDR", "PODS"),
            [(n["name"], n["status"], n["address"], n["podCIDR"], n["pods"]) for n in body["nodes"]],
        ),
    ]
    if body["hosts"]:
        sections.append(table("Outside", ("NAME", "ADDRESS"), [(h["name"], h["address"]) for h in body["hosts"]]))
    for namespace, pods in _by_namespace(body["pods"]):
        sections.append(
            table(
                f"Pods of {namespace}",
                ("NAME", "READY", "STATUS", "RESTARTS", "IP", "NODE"),
                [(p["name"], p["ready"], p["status"], p["restarts"], p["ip"], p["node"]) for p in pods],
            )
        )
    for namespace, services in _by_namespace(body["services"]):
        sections.append(
            table(
                f"Services of {namespace}",
                ("NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "READY"),
                [
                    (s["name"], s["type"], s["clusterIP"], s["externalIP"], s["ports"] or "<none>", _endpoints(s))
                    for s in services
                ],
            )
        )
    if problems:
        sections.append("\n".join(["Problems:", *(f"  {problem}" for problem in problems)]))
    return "\n\n".join(sections)


def _by_namespace(objects: Sequence[Json]) -> list[tuple[str, list[Json]]]:
    """Return objects grouped by namespace: a column for it would exceed a width of 80."""
    found: dict[str, list[Json]] = {}
    for body in objects:
        found.setdefault(body["namespace"], []).append(body)
    return sorted(found.items())


def _endpoints(service: Json) -> str:
    """Return how many of a Service's endpoints are ready, `3/4`."""
    if service["type"] == "ExternalName":
        return "<none>"
    return f"{service['endpoints']}/{service['endpoints'] + service['notReady']}"
