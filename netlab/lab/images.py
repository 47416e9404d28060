"""`netlab images`: list, build, pull and remove the images of runtime `docker`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass

from netlab.api.catalogue import WORKLOADS
from netlab.api.resources import Json
from netlab.api.times import timestamp_of
from netlab.engine.client import DockerEngine
from netlab.engine.protocol import ROLE_LABEL, VERSION_LABEL, Engine, Image
from netlab.errors import EngineError, LabError
from netlab.images import images
from netlab.images.base import BASE, MADE_LABEL

PRESENT, TO_GET, TO_BUILD, STAND_IN, OTHER = "present", "to get", "to build", "stand-in", "other"
CATALOGUE = tuple(workload.image for workload in WORKLOADS if workload.image)
NOT_FOUND, CONFLICT = 404, 409  # the engine's codes
DOCKER_HUB = "docker.io"


@dataclass(frozen=True)
class Row:
    """One image.

    `state` STAND_IN: the workloads image replaces it; OTHER: of another version of netlab.
    """

    role: str
    image: str
    state: str
    size: int = 0
    created: str = ""
    id: str = ""
    version: str = ""

    def as_json(self) -> Json:
        return asdict(self)


def build(say: Callable[[str], None]) -> tuple[str, ...]:
    """Build missing images and return the tags of all roles."""
    with closing(DockerEngine()) as engine:
        return tuple(images.ensure(engine, say).values())


def listing() -> tuple[Row, ...]:
    """Return all images: the base, those in use, of built-in workloads, of other versions."""
    with closing(DockerEngine()) as engine:
        return rows(engine)


def rows(engine: Engine) -> tuple[Row, ...]:
    """Return the rows of `listing` for any engine."""
    ours = {tag: image for image in engine.find_images({images.CONTENT_LABEL: ""}) for tag in image.tags}
    if not engine.has_image(BASE):
        wanted = {}
        listed = [Row("base", BASE, TO_GET), *(Row(role, "", TO_BUILD) for role in images.ROLES)]
    else:
        base = next(image for image in engine.find_images({}) if BASE in image.tags)
        wanted = {image.tag: image.name for image in images.wanted_images(base.id).images}
        listed = [_row("base, made here" if MADE_LABEL in base.labels else "base", BASE, PRESENT, base)]
        listed += [
            _row(role, tag, PRESENT, ours[tag]) if tag in ours else Row(role, tag, TO_BUILD) for tag, role in wanted.items()
        ]
    others = [_row(image.labels.get(ROLE_LABEL, ""), tag, OTHER, image) for tag, image in ours.items() if tag not in wanted]
    catalogue = [Row("catalogue", name, PRESENT if engine.has_image(name) else STAND_IN) for name in CATALOGUE]
    return (*listed, *catalogue, *others)


def _row(role: str, tag: str, state: str, image: Image) -> Row:
    created = timestamp_of(image.created)
    return Row(role, tag, state, image.size, created, image.id, image.labels.get(VERSION_LABEL, ""))


def prune() -> tuple[list[str], list[str]]:
    """Remove images of other versions of netlab; return those removed, and those still in use."""
    with closing(DockerEngine()) as engine:
        return remove_others(engine)


def remove_others(engine: Engine) -> tuple[list[str], list[str]]:
    """Do what `prune` does, in any engine."""
    removed, used = [], []
    others = [row for row in rows(engine) if row.state == OTHER]
    for row in sorted(others, key=lambda row: row.role not in images.ROLES):  # children before their parents
        try:
            engine.remove_image(row.image)
        except EngineError as error:
            if error.code != CONFLICT:
                raise
            used.append(row.image)
        else:
            removed.append(row.image)
    return removed, used


def pull(names: Sequence[str], say: Callable[[str], None]) -> None:
    """Pull these images, or the base and those that built-in workloads replace.

    Raises LabError if an image could not be pulled.
    """
    with closing(DockerEngine()) as engine:
        fetch(engine, names or (BASE, *CATALOGUE), say)


def fetch(engine: Engine, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Do what `pull` does, in any engine; a registry that does not respond is asked once."""
    failed: list[str] = []
    silent: list[str] = []
    for name in names:
        if (registry := registry_of(name)) in silent:
            failed.append(name)
            continue
        say(f"pulling {name}")
        try:
            engine.pull(name)
        except EngineError as error:
            failed.append(name)
            say(error.message)
            if error.code != NOT_FOUND:
                silent.append(registry)
    if failed:
        raise LabError(
            f"could not pull: {', '.join(failed)}"
            + (f"\nregistry did not respond (one attempt each): {', '.join(silent)}" if silent else ""),
            remedy="No lab needs these images: netlab builds the base from Debian's packages, "
            "and the workloads image replaces the others.",
        )


def registry_of(image: str) -> str:
    """Return the registry of an image's name."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else DOCKER_HUB
