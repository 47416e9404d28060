"""The engine of this machine through the Docker SDK: `protocol.Engine` as calls of its HTTP API.

It uses the SDK's low level: three calls start a container (create, start, inspect), and `codec`
writes the body of the first in the terms of the API, so that the request can be read and tested as
a value.

One module translates everything that the SDK raises (`errors`). Running commands (`commands`) and
receiving events (`events`) have separate modules.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import docker
from docker.errors import APIError, DockerException
from docker.types import IPAMConfig, IPAMPool

from netlab.engine.codec import container_body, container_of, failure_of, image_of, label_filters, network_of
from netlab.engine.commands import run_command
from netlab.engine.errors import code_of, own_address, require_answer, translated
from netlab.engine.events import Listener
from netlab.engine.protocol import PAUSED, Container, ContainerSpec, Event, Image, Network, NetworkSpec, same_owner
from netlab.errors import EngineError, is_not_found

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")
ANSWER_TIMEOUT = 120  # seconds for one answer; a busy machine may start a container in ten
WIDTH = 32  # objects processed in parallel
NOT_FOUND, CONFLICT = 404, 409  # HTTP codes


class DockerEngine:
    """A connection to the engine of this machine, which all threads may share.

    Raises UnsupportedHostError if the engine does not answer.
    """

    def __init__(self) -> None:
        self._address = own_address()
        with self._translated("report its version"):
            require_answer(self._address)
            self._client = docker.APIClient(self._address, version="auto", timeout=ANSWER_TIMEOUT, max_pool_size=WIDTH)
            self._client.trust_env = (
                False  # proxies and passwords of the environment are useless on a Unix socket and delay every call
            )

    # ---- containers
    def start(self, specs: Sequence[ContainerSpec]) -> list[Container]:
        """Create and start containers in parallel."""
        return _at_once(self._start_one, specs)

    def _start_one(self, spec: ContainerSpec) -> Container:
        with self._translated(f"start container {spec.name}"):
            made = self._create(spec)
            try:
                self._client.start(made)
            except DockerException:
                self._client.remove_container(made, v=True, force=True)
                raise
            return container_of(self._client.inspect_container(made))

    def _create(self, spec: ContainerSpec) -> str:
        try:
            return self._create_new(spec)
        except APIError as error:
            left = self._inspect(spec.name) if code_of(error) == CONFLICT else None
            if left is None or not same_owner(left.labels, spec.labels):
                raise
        self._remove_one(left.id)
        return self._create_new(spec)

    def _create_new(self, spec: ContainerSpec) -> str:
        made: dict[str, str] = self._client.create_container_from_config(container_body(spec), spec.name)  # type: ignore[no-untyped-call]
        return made["Id"]

    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """Return the containers with all these labels."""
        with self._translated("list containers"):
            listed = self._client.containers(all=True, filters={"label": label_filters(labels)})
        found = _at_once(self._inspect, [entry["Id"] for entry in listed])
        return sorted((container for container in found if container is not None), key=lambda container: container.name)

    def _inspect(self, container: str) -> Container | None:
        try:
            with self._translated(f"inspect container {container}"):
                return container_of(self._client.inspect_container(container))
        except EngineError as error:
            if is_not_found(error):  # removed since it was listed
                return None
            raise

    def start_again(self, ids: Sequence[str]) -> list[Container]:
        """Start containers that have ended."""
        return _at_once(self._start_again, ids)

    def _start_again(self, container: str) -> Container:
        with self._translated(f"start container {container} again"):
            self._client.start(container)
            return container_of(self._client.inspect_container(container))

    def resume(self, ids: Sequence[str]) -> None:
        """Resume paused containers."""
        _at_once(self._resume, ids)

    def _resume(self, container: str) -> None:
        try:
            with self._translated(f"resume container {container}"):
                self._client.unpause(container)
        except EngineError:
            if (found := self._inspect(container)) and found.state == PAUSED:
                raise

    def signal(self, ids: Sequence[str], signal: str) -> None:
        """Send a signal to the main process of containers."""
        _at_once(lambda container: self._unless({NOT_FOUND, CONFLICT}, self._client.kill, container, signal), ids)

    def remove(self, ids: Sequence[str]) -> None:
        """Kill and remove containers with their anonymous volumes."""
        _at_once(self._remove_one, ids)

    def _remove_one(self, container: str) -> None:
        try:
            self._unless({NOT_FOUND}, self._client.remove_container, container, v=True, force=True)
        except EngineError as error:
            if error.code != CONFLICT:
                raise
            self._unless(
                {NOT_FOUND}, self._client.wait, container, condition="removed"
            )  # another client removes it at the same time

    def run(self, container: str, argv: Sequence[str], limit: float) -> tuple[int, str]:
        """Run a command in a container; kill it and raise TimeoutError after `limit` seconds."""
        with self._translated(f"run {argv[0]} in container {container}"):
            return run_command(self._client, container, argv, limit)

    def logs(self, container: str, *, lines: int | None = None) -> str:
        """Return the output of a container."""
        with self._translated(f"read the log of container {container}"):
            said: bytes = self._client.logs(container, tail="all" if lines is None else lines)
        return said.decode(errors="replace")

    def events(self, labels: Mapping[str, str], callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` from a thread for each event."""
        return Listener(self._address, labels, callback).end

    # ---- images
    def has_image(self, name: str) -> bool:
        """Return whether an image exists."""
        return self.image_user(name) is not None

    def image_id(self, name: str) -> str:
        """Return the identity of an image."""
        return str(self._image(name)["Id"])

    def image_labels(self, name: str) -> Mapping[str, str]:
        """Return the labels of an image."""
        return dict(self._image(name)["Config"].get("Labels") or {})

    def image_user(self, name: str) -> str | None:
        """Return the user that an image runs as, None if it is missing."""
        try:
            return str(self._image(name)["Config"].get("User") or "")
        except EngineError as error:
            if is_not_found(error):
                return None
            raise

    def _image(self, name: str) -> dict[str, Any]:
        with self._translated(f"inspect image {name}"):
            found: dict[str, Any] = self._client.inspect_image(name)  # type: ignore[no-untyped-call]
            return found

    def find_images(self, labels: Mapping[str, str]) -> list[Image]:
        """Return the images with all these labels."""
        with self._translated("list images"):
            listed = self._client.images(filters={"label": label_filters(labels)})
        return sorted((image_of(entry) for entry in listed), key=lambda image: image.tags)

    def pull(self, name: str) -> None:
        """Pull an image from its registry."""
        tagged = name if "@" in name or ":" in name.rpartition("/")[2] else f"{name}:latest"
        with self._translated(f"pull image {name}"):
            _follow(f"pull image {name}", self._client.pull(tagged, stream=True, decode=True))

    def build(self, context: bytes, tag: str, labels: Mapping[str, str]) -> None:
        """Build an image from a tar archive."""
        with self._translated(f"build image {tag}"):
            news = self._client.build(
                fileobj=io.BytesIO(context), custom_context=True, tag=tag, labels=dict(labels), rm=True, forcerm=True, decode=True
            )
            _follow(f"build image {tag}", news)

    def import_image(self, archive: str, name: str, labels: Mapping[str, str], command: str) -> None:
        """Create an image from a tar archive."""
        repository, _, tag = name.partition(":")
        changes = [f"LABEL {label}={value}" for label, value in labels.items()]
        changes.append(f'CMD ["{command}"]')
        with self._translated(f"import image {name}"):
            self._client.import_image_from_file(archive, repository, tag, changes)

    def remove_image(self, name: str) -> None:
        """Remove a name of an image, and the image with its last name."""
        self._unless({NOT_FOUND}, self._client.remove_image, name)

    # ---- networks
    def create_network(self, spec: NetworkSpec) -> Network:
        """Create a network."""
        with self._translated(f"create network {spec.name} with {spec.subnet}"):
            made = self._client.create_network(
                spec.name,
                driver="bridge",
                internal=True,
                labels=dict(spec.labels),
                check_duplicate=True,
                ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=spec.subnet, gateway=spec.gateway)]),
            )
            return network_of(self._client.inspect_network(made["Id"]))

    def networks(self, labels: Mapping[str, str]) -> list[Network]:
        """Return the networks with all these labels."""
        with self._translated("list networks"):
            listed = self._client.networks(filters={"label": label_filters(labels)} if labels else None)
        return sorted((network_of(entry) for entry in listed), key=lambda network: network.name)

    def remove_network(self, network: str) -> None:
        """Remove a network."""
        self._unless({NOT_FOUND}, self._client.remove_network, network)

    def close(self) -> None:
        """Close the idle connections."""
        self._client.close()

    # ---- calls whose errors are translated
    def _unless(self, codes: set[int], call: Callable[..., object], thing: str, *arguments: object, **options: object) -> None:
        """Make a call; an answer of one of `codes` means that the requested state holds already."""
        try:
            with self._translated(f"{call.__name__.replace('_', ' ')} {thing}"):
                call(thing, *arguments, **options)
        except EngineError as error:
            if error.code not in codes:
                raise

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        with translated(doing, self._address):
            yield


def _at_once(work: Callable[[Argument], Answer], items: Sequence[Argument]) -> list[Answer]:
    """Process many objects in parallel; raise the first error after all attempts."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(WIDTH, len(items)), thread_name_prefix="engine") as pool:
        futures = [pool.submit(work, item) for item in items]
    return [future.result() for future in futures]


def _follow(doing: str, news: Iterator[dict[str, Any]]) -> None:
    """Follow a build or pull to its end. Raises EngineError if it failed."""
    if failed := failure_of(news):
        words, todo = failed
        raise EngineError(f"the container engine could not {doing}: {words}", remedy=todo)
