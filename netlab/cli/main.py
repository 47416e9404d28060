"""The command `netlab`: options to arguments, one call into `netlab.lab`, the result to text.

Heavy modules are imported inside the verbs that need them, so that `netlab --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from netlab import __version__
from netlab.cli import options, run, streams
from netlab.cli.verbs import diagnose, images, inspect, lifecycle
from netlab.cli.verbs import test as test_verbs

app = typer.Typer(
    name="netlab",
    help="Start and test the network of a Kubernetes cluster, without the rest of Kubernetes.",
    epilog="Start with: netlab up topologies/quickstart.yaml",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for verbs in (lifecycle, inspect, diagnose):
    verbs.register(app)
app.add_typer(test_verbs.app, name="test")
app.add_typer(images.app, name="images")


def _version_text() -> str:
    return f"k8s-netlab {__version__} (Python {sys.version.split()[0]}, {Path(__file__).parent.parent})"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(_version_text())
        raise typer.Exit


@app.callback()
def common(
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Print more messages; -vv for debugging.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    log_format: Annotated[options.LogFormat, typer.Option(help="Format of log lines.")] = options.LogFormat.TEXT,
) -> None:
    """Set what all verbs share."""
    options.configure(verbose=verbose, quiet=quiet, log_format=log_format)


@app.command()
def version() -> None:
    """Print the version.

    \b
    Example: netlab version
    """  # \b is click's mark for "keep the lines"
    print(_version_text())


def main() -> None:
    """Run the command line; every error that reaches a user becomes a message and an exit code."""
    streams.survive_their_readers()
    sys.exit(run.guarded(app))
