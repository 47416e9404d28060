"""Verbs that need no lab: validate, schema, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netlab.cli import render
from netlab.cli.options import Format, FormatOption, note
from netlab.cli.run import UNSUPPORTED


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(validate)
    app.command()(schema)
    app.command()(doctor)


def validate(
    file: Annotated[Path | None, typer.Argument(help="Topology file, - for stdin; default: the one in this folder.")] = None,
) -> None:
    """Check a topology file and its manifests.

    Reports all problems at once and creates nothing.

    \b
    Example: netlab validate topologies/quickstart.yaml
    """
    from netlab.lab.files import default_file, read_topology

    topology = read_topology(file or default_file(Path.cwd()))
    for text in topology.notes:
        note(f"note: {text}")
    kinds: dict[str, int] = {}
    for manifest in topology.manifests:
        kinds[manifest.resource.kind] = kinds.get(manifest.resource.kind, 0) + 1
    manifests = [f"{count} {kind}" for kind, count in sorted(kinds.items())]  # kinds are names: they keep their form
    nodes = render.counted(len(topology.lab.spec.nodes), "node")
    print(f"Lab {topology.lab.metadata.name}: {', '.join([nodes, *manifests])}: valid")


def schema() -> None:
    """Print the JSON Schema of topology files, for an editor.

    \b
    Example: netlab schema > schema.json
    """
    from netlab.topology import schema as topology_schema

    print(render.document(topology_schema(), Format.JSON))


def doctor(form: FormatOption = Format.TABLE) -> None:
    """Report what this machine lacks to run a lab.

    Prints the one command that installs it. Exit code 0: a lab can run here; 4: it cannot.

    \b
    Example: netlab doctor
    """
    from netlab.lab.doctor import diagnose, remedy

    findings = diagnose()
    if form is Format.TABLE:
        rows = [(finding.mark, finding.name, finding.found) for finding in findings]
        print(render.table("", ("", "CHECK", "FOUND"), rows))
        print(remedy(findings))
    else:
        print(render.document([finding.as_json() for finding in findings], form))
    if any(finding.blocks for finding in findings):
        raise typer.Exit(UNSUPPORTED)
