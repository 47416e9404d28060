"""Verbs for the images of runtime docker: images build, list, pull, prune."""

from __future__ import annotations

from typing import Annotated

import typer

from netlab.cli import render
from netlab.cli.options import Format, FormatOption, note

app = typer.Typer(help="Manage the images of runtime docker.", no_args_is_help=True, rich_markup_mode=None)
MEGABYTE = 1_000_000


@app.command()
def build() -> None:
    """Build missing images.

    `netlab up` also builds the images that it needs.

    \b
    Example: netlab images build
    """
    from netlab.lab.images import build as build_images

    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        note(text)

    for tag in build_images(say):
        print(tag)
    if not said:
        note("All images exist: nothing to build.")


@app.command("list")
def list_(form: FormatOption = Format.TABLE) -> None:
    """List the images.

    Shows the role and state of each, and the number of images of other versions of netlab.

    \b
    Example: netlab images list
    Example: netlab images list -f json
    """
    from netlab.lab.images import OTHER, listing

    found = listing()
    if form is not Format.TABLE:
        print(render.document([row.as_json() for row in found], form))
        return
    rows = [(row.role, row.image, row.state, _size(row.size), row.created) for row in found if row.state != OTHER]
    print(render.table("", ("ROLE", "IMAGE", "STATE", "SIZE", "CREATED"), rows))
    if others := len(found) - len(rows):
        note(f"{others} images of other versions: netlab images prune removes them.")


def _size(count: int) -> str:
    return f"{count / MEGABYTE:.0f} MB" if count else ""


@app.command()
def pull(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="IMAGE", help="Default: the base and the images of built-in workloads.")
    ] = None,
) -> None:
    """Pull images from their registries.

    Without IMAGE: the base, and the images that built-in workloads replace if they are missing.

    Exit code 1: an image could not be pulled. No lab needs these images.

    \b
    Example: netlab images pull
    Example: netlab images pull nginx traefik/whoami
    """
    from netlab.lab.images import pull as pull_images

    pull_images(images or (), note)


@app.command()
def prune() -> None:
    """Remove images of other versions of netlab.

    Images of running labs stay.

    \b
    Example: netlab images prune
    """
    from netlab.lab.images import prune as prune_images

    removed, used = prune_images()
    for tag in removed:
        print(f"removed {tag}")
    for tag in used:
        note(f"kept {tag}: a container uses it")
    if not removed and not used:
        note("There are no other images.")
