"""Which image a container of runtime `docker` is made from, by Kubernetes' policies.

    imagePullPolicy   there      one of netlab's catalog     neither
    IfNotPresent      that       netlab's workloads image    pulled
    Never             that       netlab's workloads image    ErrImageNeverPull
    Always            pulled     pulled                      pulled

The default is Kubernetes' (Always for the tag `latest` or none), except for images of the catalog, which netlab provides:
IfNotPresent (`netlab.controlplane.kinds.pod`). All functions block.
"""

from __future__ import annotations

from dataclasses import dataclass

from netlab.api.pods import Container
from netlab.engine.protocol import Engine
from netlab.errors import EngineError, LabError
from netlab.node.pods.builtin import builtin_of, is_brought

ALWAYS, NEVER = "Always", "Never"
NO_NAME = 400  # the engine's HTTP code for what cannot be an image's name


class ImageUnavailableError(LabError):
    """An image is unavailable; `reason` is Kubernetes' word for why."""

    def __init__(self, message: str, *, reason: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


@dataclass(frozen=True)
class Chosen:
    """The image a container is made from. `server`: the built-in workload that runs in it; "" when it runs a program."""

    image: str
    user: str = ""  # the user that it runs as; "" is root
    stands_in: bool = False  # it is netlab's own, in place of the one that was named
    server: str = ""


def needs_pull(container: Container, *, present: bool) -> bool:
    """Return whether a registry is asked before the container can be made; `present`: its image is there."""
    policy = container.image_pull_policy
    return policy == ALWAYS or not (present or is_brought(container) or policy == NEVER)


def choose(engine: Engine, container: Container, workloads: str) -> Chosen:
    """Return the image of a container, pulled if that is its policy. `workloads` is the tag of netlab's own.

    Raises ImageUnavailableError.
    """
    image = container.image
    user = user_of(engine, image)
    if needs_pull(container, present=user is not None):
        _pull(engine, container)
        return Chosen(image, engine.image_user(image) or "")
    if user is not None:
        return Chosen(image, user)
    if is_brought(container):
        return Chosen(workloads, engine.image_user(workloads) or "", stands_in=True, server=builtin_of(container))
    raise ImageUnavailableError(
        f'Container image "{image}" is not present with pull policy of Never',
        reason="ErrImageNeverPull",
        remedy=f"Build or load it: docker build -t {image} ., or docker load.",
    )


def user_of(engine: Engine, image: str) -> str | None:
    """Return the user that an image runs as, None when it is not there. Raises ImageUnavailableError when it never can be."""
    try:
        return engine.image_user(image)
    except EngineError as error:
        if error.code != NO_NAME:
            raise
        raise ImageUnavailableError(
            f'couldn\'t parse image name "{image}": invalid reference format', reason="InvalidImageName", remedy=error.remedy
        ) from error


def _pull(engine: Engine, container: Container) -> None:
    image = container.image
    try:
        engine.pull(image)
    except EngineError as error:
        local = f"docker build -t {image} ., docker pull {image}, or docker load"
        present = (
            "imagePullPolicy: IfNotPresent uses the image that is present" if engine.has_image(image) else f"Get it: {local}"
        )
        raise ImageUnavailableError(
            f'failed to pull image "{image}": {error.message}', reason="ErrImagePull", remedy=f"{present}."
        ) from error
