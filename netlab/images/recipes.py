"""The content of an image, computed from the texts of its Dockerfile and files. Pure.

A Dockerfile in `images/` defines everything; this module reads two kinds of lines:

    FROM debian:bookworm-slim | netlab/NAME   the parent: the base, or another image of this folder
    COPY SOURCE... TARGET                     the sources: a path in `images/`, or one of the generated
                                              parts `netlab` (this program) and `dependencies` (the
                                              libraries that it imports)

An image's *content* is the hash of its Dockerfile, of all that it copies and of the content of its
parent, down to the identity of the base. It is the image's tag: `netlab/node:0a1b2c3d4e5f`. So an
image exists or must be built, is never out of date, and two versions of netlab on one machine do
not conflict.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netlab.errors import LabError

PREFIX = "netlab/"
LENGTH = 12  # hex digits of a content in a tag


@dataclass(frozen=True)
class File:
    """A file of a build's context."""

    path: str
    content: bytes
    executable: bool = False


@dataclass(frozen=True)
class Recipe:
    """A Dockerfile and what it refers to."""

    name: str
    text: str
    parent: str  # as in FROM
    sources: tuple[str, ...]

    @property
    def parent_recipe(self) -> str:
        """The name of the parent's recipe; empty if the parent is the base."""
        return self.parent.removeprefix(PREFIX) if self.parent.startswith(PREFIX) else ""


@dataclass(frozen=True)
class PlannedImage:
    """An image as it should be: its tag identifies its content."""

    name: str
    tag: str
    content: str
    parent_tag: str
    recipe: Recipe

    def dockerfile(self, labels: Mapping[str, str]) -> str:
        """Return the Dockerfile, with the exact parent that the content includes.

        The labels are one instruction, because every instruction costs the engine 0.1 s or more.
        """
        text = self.recipe.text.replace(f"FROM {self.recipe.parent}\n", f"FROM {self.parent_tag}\n", 1)
        words = " ".join(f'{name}="{value}"' for name, value in labels.items())
        return f"{text}LABEL {words}\n"


def read_recipe(name: str, text: str) -> Recipe:
    """Return the parent and the sources of a Dockerfile."""
    instructions = [words for line in text.splitlines() if len(words := line.split()) > 1]
    parents = [words[1] for words in instructions if words[0] == "FROM"]
    if len(parents) != 1:
        raise LabError(f"images/{name}/Dockerfile has {len(parents)} FROM instructions; netlab supports exactly one")
    sources = [source for words in instructions if words[0] == "COPY" for source in words[1:-1]]
    return Recipe(name, text, parents[0], tuple(sources))


def digest_of_files(files: Iterable[File]) -> str:
    """Return the hash of files with their paths and whether they can be executed, whatever their order."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path):
        inner = hashlib.sha256(file.content).hexdigest()
        total.update(f"{file.path}\0{'x' if file.executable else '-'}\0{inner}\n".encode())
    return total.hexdigest()


def plan(recipes: Mapping[str, Recipe], digests: Mapping[str, str], base: str) -> tuple[PlannedImage, ...]:
    """Return all images, each after its parent.

    `digests`: the hash of every source that a recipe copies; `base`: the identity of the base image.
    """
    planned: dict[str, PlannedImage] = {}
    while len(planned) < len(recipes):
        ready = [
            recipe
            for name, recipe in recipes.items()
            if name not in planned and (not recipe.parent_recipe or recipe.parent_recipe in planned)
        ]
        if not ready:
            left = ", ".join(sorted(set(recipes) - set(planned)))
            raise LabError(f"images/: cannot order the builds of {left}: a FROM names a missing image, or the FROMs form a cycle")
        for recipe in ready:
            planned[recipe.name] = _planned(recipe, digests, base, planned.get(recipe.parent_recipe))
    return tuple(planned.values())


def _planned(recipe: Recipe, digests: Mapping[str, str], base: str, parent: PlannedImage | None) -> PlannedImage:
    parts = (recipe.text, parent.content if parent else base, *(f"{source} {digests[source]}" for source in recipe.sources))
    content = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    tag = f"{PREFIX}{recipe.name}:{content[:LENGTH]}"
    return PlannedImage(recipe.name, tag, content, parent.tag if parent else recipe.parent, recipe)
