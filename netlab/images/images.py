"""The images of a lab's containers: `ensure` builds missing images and returns a tag per role.

    images/<name>/Dockerfile  -> recipes        the parent and the sources of each      (recipes, pure)
    images/, netlab, libraries -> digests       the content of the image                (here, dependencies)
    debian:bookworm-slim      -> identity       pulled or built if it is missing        (base)
    all of that               -> plan           a tag per image, parents first          (recipes, pure)
    the plan and the engine   -> builds         only missing tags

The libraries are downloaded only for a build: their versions are enough to compute a tag. Two
commands at the same time build one after the other, under a lock in the user's cache folder; the
second finds the images of the first.
"""

from __future__ import annotations

import fcntl
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import netlab
from netlab.engine.protocol import ROLE_LABEL, VERSION_LABEL, Engine
from netlab.errors import LabError
from netlab.images import base, dependencies
from netlab.images.recipes import File, PlannedImage, Recipe, digest_of_files, plan, read_recipe

ROLES = ("node", "edge", "client", "workloads")
CONTENT_LABEL = "netlab/content"
NETLAB, DEPENDENCIES = "netlab", "dependencies"  # the generated parts
# Layers of netlab above those that run in a container (pyproject.toml: these may not be imported from there)
NOT_IN_CONTAINERS = ("cli", "lab", "daemon", "probe", "__main__.py")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """All images as they should be, parents first."""

    images: tuple[PlannedImage, ...]

    @property
    def tags(self) -> dict[str, str]:
        """The tag of each role."""
        return {image.name: image.tag for image in self.images if image.name in ROLES}


def ensure(engine: Engine, say: Say) -> Mapping[str, str]:
    """Return the tag of each role's image; build missing ones, and announce that with `say`."""
    if engine.has_image(base.BASE):
        wanted = wanted_images(engine.image_id(base.BASE))
        if not missing(engine, wanted):
            return wanted.tags
    with _one_at_a_time(say):
        wanted = wanted_images(base.ensure_base(engine, say))
        to_build = missing(engine, wanted)
        for number, image in enumerate(to_build, 1):
            say(f"building image {image.tag} ({number} of {len(to_build)})")
            _build(engine, image)
    return wanted.tags


def missing(engine: Engine, wanted: Wanted) -> tuple[PlannedImage, ...]:
    """Return the images to build, parents first.

    A parent without a child to build is not needed.
    """
    absent = [image for image in wanted.images if not engine.has_image(image.tag)]
    parents = {image.parent_tag for image in absent}
    return tuple(image for image in absent if image.name in ROLES or image.tag in parents)


def wanted_images(base: str) -> Wanted:
    """Return all images as they should be on a base with this identity."""
    recipes = {name: read_recipe(name, text) for name, text in _dockerfiles().items()}
    return Wanted(plan(recipes, _digests(recipes.values()), base))


def _build(engine: Engine, image: PlannedImage) -> None:
    labels = {
        ROLE_LABEL: image.name,
        VERSION_LABEL: netlab.__version__,
        CONTENT_LABEL: image.content,
        "org.opencontainers.image.version": netlab.__version__,
        "org.opencontainers.image.base.name": image.parent_tag,
    }
    files = [File("Dockerfile", image.dockerfile(labels).encode())]
    for source in image.recipe.sources:
        files += _files_of(source)
    engine.build(archive(files), image.tag, {})


def archive(files: Sequence[File]) -> bytes:
    """Return a tar archive: the same files give the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for file in files:
            entry = tarfile.TarInfo(file.path)
            entry.size, entry.mode = len(file.content), 0o755 if file.executable else 0o644
            tar.addfile(entry, io.BytesIO(file.content))
    return packed.getvalue()


# ---- the sources
def folder() -> Path:
    """Return the folder `images`: of the installed package, else of the source tree."""
    package = Path(str(resources.files(netlab)))
    found = next((place for place in (package / "_images", package.parent / "images") if place.is_dir()), None)
    if found is None:
        raise LabError(f"the images' Dockerfiles are missing: they belong next to {package}", remedy="Reinstall netlab.")
    return found


def _dockerfiles() -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in sorted(folder().glob("*/Dockerfile"))}


def _digests(recipes: Iterable[Recipe]) -> dict[str, str]:
    """Return the hash of every source; it is computed without the libraries themselves."""
    sources = {source for recipe in recipes for source in recipe.sources}
    return {source: dependencies.digest() if source == DEPENDENCIES else digest_of_files(_files_of(source)) for source in sources}


def _files_of(source: str) -> list[File]:
    """Return the files of a COPY instruction's source."""
    if source == NETLAB:
        return list(_program())
    if source == DEPENDENCIES:
        return list(_tree(dependencies.fetch(cache()), DEPENDENCIES))
    path = folder() / source
    return list(_tree(path, source)) if path.is_dir() else [_file(path, source)]


def _program() -> Iterator[File]:
    """Yield netlab's own source, as far as it runs in containers."""
    package = Path(str(resources.files(netlab)))
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        if inside.parts[0] not in NOT_IN_CONTAINERS:
            yield _file(path, f"{NETLAB}/{inside}")


def _tree(root: Path, name: str) -> Iterator[File]:
    for path in sorted(root.rglob("*")):
        if path.is_file():
            yield _file(path, f"{name}/{path.relative_to(root)}")


def _file(path: Path, name: str) -> File:
    """Read a file.

    Scripts are executable regardless of their mode: a shared file system may lack modes.
    """
    content = path.read_bytes()
    return File(name, content, content.startswith(b"#!"))


def cache() -> Path:
    """Return the user's cache folder for netlab."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "k8s-netlab"


@contextmanager
def _one_at_a_time(say: Say) -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "images.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another netlab process that builds images")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
