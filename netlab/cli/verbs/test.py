"""Verbs that test a lab: test connectivity."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from netlab.api.resources import Json
from netlab.cli import render
from netlab.cli.options import TALK, Format, FormatOption, LabArgument, note
from netlab.cli.run import FAILED, INVALID
from netlab.errors import CannotTestError, UsageError

NOTHING_MATCHED = """nothing was tested: {!r} matches no path class and no check id of this lab
Without --only the report lists the classes; an id is CLASS/SOURCE->TARGET/PROTOCOL, and * matches any text."""
UNBOUND = 1000  # columns if stdout is not a terminal: a sentence is then one line, for grep

app = typer.Typer(help="Test a lab's network with real packets.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _tests() -> None:
    """Keep `connectivity` a separate word while it is the only test."""


@app.command()
def connectivity(
    name: LabArgument = "",
    form: FormatOption = Format.TABLE,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write Markdown to this file (a GitHub job summary).")] = None,
    github: Annotated[
        bool, typer.Option(envvar="GITHUB_ACTIONS", help="Also print GitHub Actions annotations of failures on stderr.")
    ] = False,
    only: Annotated[str, typer.Option(help="Run only checks with this class or id, e.g. 'pod-pod*' or '*->default/blue*'.")] = "",
    timeout: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds until an unanswered probe counts as dropped.")] = 1.0,
) -> None:
    """Test every path with real packets.

    netlab derives the checks and their expected results from the lab's objects; the record (-f json) has the evidence.
    Exit code 0: every check passed; 1: a check failed; 2: a check could not be tested; 4: this machine cannot run it.

    \b
    Example: netlab test connectivity
    Example: netlab test connectivity -f json --junit results.xml
    Example: netlab test connectivity --only 'node-port*'
    """
    from netlab.lab.find import lab_named
    from netlab.lab.test import connectivity as run_test

    _require_writable(junit, markdown)
    state = lab_named(name)
    try:
        record = run_test(state, only=only or None, timeout=timeout, on_progress=_progress)
    except CannotTestError as error:  # a reader must not find the files of an earlier run
        from netlab.probe.report.record import untestable

        record = untestable(state.lab, error.message, only or None)
        _write(record, junit, markdown)
        _annotate(record, github=github)
        if form is not Format.TABLE:
            print(render.document(record, form))
        raise
    if TALK.interactive:
        sys.stderr.write("\r\x1b[K")
    _write(record, junit, markdown)
    _annotate(record, github=github)
    if form is Format.TABLE:
        from rich.console import Console

        from netlab.cli.connectivity import report

        Console(width=None if sys.stdout.isatty() else UNBOUND).print(report(record))
    else:
        print(render.document(record, form))
    _conclude(record)


def _annotate(record: Json, *, github: bool) -> None:
    """Write annotations for GitHub Actions."""
    if github:
        from netlab.probe.report.annotations import annotate

        sys.stderr.write("".join(f"{line}\n" for line in annotate(record)))


def _conclude(record: Json) -> None:
    """End with the exit code of a record: 1 a check failed, 2 something could not be tested."""
    from netlab.probe.report.record import failed, tested_anything, untested

    if failed(record):
        raise typer.Exit(FAILED)
    if not tested_anything(record):
        note(NOTHING_MATCHED.format(record["only"]) if record["only"] else "nothing was tested")
        raise typer.Exit(INVALID)
    if count := untested(record):
        note(f"{count} checks could not be run, so the test did not pass")
        raise typer.Exit(INVALID)


def _require_writable(*files: Path | None) -> None:
    """Raise UsageError for a file that cannot be written, before the test runs."""
    for file in filter(None, files):
        try:
            file.open("a").close()
        except OSError as error:
            raise UsageError(f"cannot write {file}: {error.strerror}") from error


def _write(record: Json, junit_file: Path | None, markdown_file: Path | None) -> None:
    """Write the requested files in addition to the printed result."""
    if junit_file:
        from netlab.probe.report.junit import junit

        junit_file.write_text(junit(record), encoding="utf-8")
    if markdown_file:
        from netlab.probe.report.markdown import markdown

        markdown_file.write_text(markdown(record), encoding="utf-8")


def _progress(done: int, total: int) -> None:
    if TALK.interactive:
        sys.stderr.write(f"\r\x1b[K{done}/{total} checks")
        sys.stderr.flush()
