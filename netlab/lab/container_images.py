"""Images of a lab of containers: present or pulled before anything of the lab is created."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from netlab.controlplane.kinds.pod import pull_policy
from netlab.engine.protocol import Engine
from netlab.errors import InvalidTopologyError
from netlab.node.pods.images import ImageUnavailableError, choose, needs_pull, user_of
from netlab.topology.manifest import NamedImage


def require_images(engine: Engine, images: Iterable[NamedImage], workloads: str, say: Callable[[str], None]) -> None:
    """Pull missing images. `workloads` is the tag of netlab's own image.

    Raises InvalidTopologyError with the place of each missing image, and what to do.
    """
    problems, seen = [], set()
    for named in images:
        container = named.container
        policy = container.image_pull_policy or pull_policy(container.image)
        container = msgspec.structs.replace(container, image_pull_policy=policy)
        what = (container.image, policy, container.command)
        if what in seen:
            continue
        seen.add(what)
        try:
            if needs_pull(container, present=user_of(engine, container.image) is not None):
                say(f"pulling image {container.image}")
            choose(engine, container, workloads)
        except ImageUnavailableError as error:
            problems.append(f"{named.place}: {error.message}. {error.remedy}")
    if problems:
        raise InvalidTopologyError(tuple(problems))
