"""Verbs that change a lab: up, down, gc."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from netlab.cli.options import TALK, LabArgument, note, program
from netlab.cli.render import counted
from netlab.errors import UsageError

if TYPE_CHECKING:
    from netlab.lab.converge import Progress
    from netlab.lab.up import Result


def register(app: typer.Typer) -> None:
    """Add the verbs of this module, with their aliases."""
    app.command()(up)
    app.command()(down)
    app.command()(gc)
    for alias in ("deploy", "apply"):
        app.command(name=alias, hidden=True)(up)
    app.command(name="destroy", hidden=True)(down)


def up(
    file: Annotated[Path | None, typer.Argument(help="Topology file, - for stdin; default: the one in this folder.")] = None,
    name: Annotated[str, typer.Option(help="Name of the lab; default: the one in the file.")] = "",
    runtime: Annotated[str, typer.Option(help="netns or docker; default: the one in the file.")] = "",
    timeout: Annotated[float, typer.Option(min=1, max=3600, help="Seconds to wait until the lab is ready.")] = 60,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the changes; change nothing.")] = False,
    keep_on_failure: Annotated[bool, typer.Option("--keep-on-failure", help="Keep a failed lab for inspection.")] = False,
) -> None:
    """Create a lab, or update a running lab to match its file.

    \b
    Example: netlab up topologies/quickstart.yaml
    Example: netlab up --name second topologies/quickstart.yaml
    Example: cat lab.yaml manifests/*.yaml | netlab up -
    """
    from netlab.lab.files import default_file
    from netlab.lab.up import Options
    from netlab.lab.up import up as bring_up

    started = time.monotonic()
    options = Options(name, runtime, timeout, dry_run, keep_on_failure)
    with _Line() as line:
        result = bring_up(file or default_file(Path.cwd()), options, line.show, line.say)
    _tell(result, options.dry_run, time.monotonic() - started)


class _Line:
    """One line on the terminal with the progress of `up`; prints nothing unless interactive."""

    def __enter__(self) -> Self:
        return self

    def say(self, text: str) -> None:
        """Replace the line by a message."""
        self._clear()
        note(text)

    def show(self, progress: Progress) -> None:
        """Redraw the line."""
        if TALK.interactive:
            filled = 24 * progress.done // max(progress.total, 1)
            waiting = progress.waiting[0] if progress.waiting else ""
            text = f"[{'#' * filled}{'.' * (24 - filled)}] {progress.done}/{progress.total} {waiting}"
            sys.stderr.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
            sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        self._clear()

    def _clear(self) -> None:
        if TALK.interactive:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _tell(result: Result, dry_run: bool, seconds: float) -> None:
    """Print what was done."""
    shown = result.changes if dry_run or not result.created or TALK.verbose else ()
    for change in shown:
        print(f"{change}{' (dry run)' if dry_run else ''}")
    for text in result.notes:
        note(f"note: {text}")
    if dry_run:
        note(f"Lab {result.lab}: {counted(len(result.changes), 'change')} would be made.")
    elif result.created:
        note(f"Lab {result.lab} is up in {seconds:.1f} s: {counted(len(result.changes), 'object')}.")
        note(f"Test it: {program()} test connectivity {result.lab}   Next steps: {program()} next {result.lab}")
    elif result.changes:
        note(f"Lab {result.lab} updated: {counted(len(result.changes), 'change')} in {seconds:.1f} s.")
    else:
        note(f"Lab {result.lab} is up to date: nothing to do ({seconds:.1f} s).")


def down(
    name: LabArgument = "",
    all_: Annotated[bool, typer.Option("--all", help="Remove every lab.")] = False,
) -> None:
    """Remove a lab with its processes, namespaces and containers.

    Also removes its record. If the lab does not exist, the exit code is 0.

    \b
    Example: netlab down
    Example: netlab down quickstart
    Example: netlab down --all
    """
    from netlab.lab.down import down_locked
    from netlab.lab.find import lab_named, recorded_labs
    from netlab.state import StateDirectory

    if name and all_:
        raise UsageError(f"a lab name ({name}) and --all exclude each other", remedy="Use one of them.")
    recorded = recorded_labs()
    if not recorded or (name and name not in recorded):
        note(f"There is no lab {name!r}: nothing to do." if name else "No lab is running: nothing to do.")
        return
    labs = [StateDirectory.of(lab) for lab in recorded] if all_ else [lab_named(name)]
    for lab in labs:
        removed = down_locked(lab)
        counts = {"namespace": removed.namespaces, "process": removed.processes, "container": removed.containers}
        gone = ", ".join(counted(number, noun) for noun, number in counts.items() if number)
        note(f"Lab {removed.lab} removed: {gone or 'only its record remained'}.")


def gc(dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what gc would remove; remove nothing.")] = False) -> None:
    """Remove leftovers of labs that are no longer running.

    Leftovers are records, and processes, namespaces, containers and Docker networks without a record.

    \b
    Example: netlab gc
    """
    from netlab.lab.gc import collect

    removed = collect(note, dry_run=dry_run)
    for line in removed:
        print(f"{'would remove' if dry_run else 'removed'} {line}")
    if not removed:
        note("There are no leftovers.")
