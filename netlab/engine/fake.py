"""A container engine in memory, for tests: the contract and the errors of `protocol.Engine`.

Like the real one it serves many threads, and changes or lists containers one at a time.

What a test may set: `images` (name -> labels), `registry` (names that can be pulled), `users`,
`answers` (what `run` returns), `written` (what `logs` returns, by the container's name). What a
test may do in addition: `end` a container as if its process had ended, `pause` or `disconnect` it,
`lose` everything as a restart does.
"""

from __future__ import annotations

import io
import itertools
import re
import shlex
import tarfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from ipaddress import IPv4Network
from typing import Concatenate, ParamSpec, TypeVar

from netlab.engine.protocol import (
    CONNECTED,
    NO_NETWORK,
    PAUSED,
    RUNNING,
    Container,
    ContainerSpec,
    Event,
    Image,
    Network,
    NetworkSpec,
    same_owner,
)
from netlab.errors import EngineError

EXITED = "exited"
CONTAINER_NETWORK = "container:"
KILLING = {"SIGKILL": 137, "SIGTERM": 143}  # signals that end a process -> its exit code
FIRST_PID = 1 << 22  # above the kernel's PID_MAX_LIMIT: no process of this machine has it
NAME = re.compile(r"[a-z0-9._/:-]+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?\Z")  # of an image, more or less
Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


def _one_at_a_time(
    call: Callable[Concatenate[FakeEngine, Asked], Answer],
) -> Callable[Concatenate[FakeEngine, Asked], Answer]:
    @wraps(call)
    def alone(engine: FakeEngine, /, *arguments: Asked.args, **named: Asked.kwargs) -> Answer:
        with engine.turn:
            return call(engine, *arguments, **named)

    return alone


@dataclass
class FakeEngine:
    """Containers, images and networks as dictionaries."""

    images: dict[str, dict[str, str]] = field(default_factory=dict)
    registry: set[str] = field(default_factory=set)
    users: dict[str, str] = field(default_factory=dict)  # by image name
    answers: Callable[[str, Sequence[str]], tuple[int, str]] = lambda _container, _argv: (0, "")
    written: dict[str, str] = field(default_factory=dict)
    specs: dict[str, ContainerSpec] = field(default_factory=dict)  # by container id: its specification

    def __post_init__(self) -> None:
        self._containers: dict[str, Container] = {}
        self._networks: dict[str, Network] = {}
        self._listeners: list[tuple[Mapping[str, str], Callable[[Event], None]]] = []
        self._numbers = itertools.count(1)
        self.turn = threading.RLock()  # serializes calls

    # ---- containers
    @_one_at_a_time
    def start(self, specs: Sequence[ContainerSpec]) -> list[Container]:
        """Start containers one after another; raise the first error after all attempts."""
        started, errors = [], []
        for spec in specs:
            try:
                started.append(self._start_one(spec))
            except EngineError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return started

    def _start_one(self, spec: ContainerSpec) -> Container:
        doing = f"start container {spec.name}"
        if spec.image not in self.images:
            raise _refused(doing, f"No such image: {spec.image}", 404)
        for left in [container for container in self._containers.values() if container.name == spec.name]:
            if not same_owner(left.labels, spec.labels):
                raise _refused(doing, f'the name "/{spec.name}" is already in use by container', 409)
            self.remove([left.id])
        self._require_network(doing, spec.network)
        number, on = next(self._numbers), tuple(found.id for found in self._networks.values() if found.name == spec.network)
        made = Container(f"{number:064x}", spec.name, spec.image, dict(spec.labels), "created", networks=on)
        self._containers[made.id] = made
        self.specs[made.id] = spec
        return self._run(made)

    def _require_network(self, doing: str, network: str) -> None:
        known = {NO_NETWORK, *(found.name for found in self._networks.values())}
        if network.startswith(CONTAINER_NETWORK):
            self._require(doing, network.removeprefix(CONTAINER_NETWORK))
        elif network not in known:
            raise _refused(doing, f"network {network} not found", 404)

    def _run(self, container: Container) -> Container:
        for lost in set(container.networks) - set(self._networks):
            raise _refused(f"start container {container.name}", f"network {lost} not found", 404)
        number = next(self._numbers)
        running = replace(container, state=RUNNING, pid=FIRST_PID + number, exit_code=0, started_at=f"start {number}")
        self._containers[container.id] = running
        self._tell("start", running)
        return running

    @_one_at_a_time
    def containers(self, labels: Mapping[str, str]) -> list[Container]:
        """Return the containers with all these labels."""
        found = [container for container in self._containers.values() if _has(container.labels, labels)]
        return sorted(found, key=lambda container: container.name)

    @_one_at_a_time
    def start_again(self, ids: Sequence[str]) -> list[Container]:
        """Start containers that have ended; ignore running ones."""
        found = [self._require(f"start container {one} again", one) for one in ids]
        return [container if container.runs else self._run(container) for container in found]

    @_one_at_a_time
    def resume(self, ids: Sequence[str]) -> None:
        """Resume paused containers."""
        for one in ids:
            if one in self._containers and self._containers[one].state == PAUSED:
                self._containers[one] = replace(self._containers[one], state=RUNNING)

    @_one_at_a_time
    def signal(self, ids: Sequence[str], signal: str) -> None:
        """End containers whose process this signal ends."""
        for one in ids:
            if one in self._containers and self._containers[one].runs and signal in KILLING:
                self.end(one, KILLING[signal])

    @_one_at_a_time
    def remove(self, ids: Sequence[str]) -> None:
        """End and remove containers."""
        for one in ids:
            if one in self._containers:
                self.end(one, KILLING["SIGKILL"])
                self._tell("destroy", self._containers.pop(one))

    def run(self, container: str, argv: Sequence[str], limit: float) -> tuple[int, str]:  # noqa: ARG002 -- answers at once
        """Return the value that the test has set."""
        if not self._require(f"run {argv[0]} in container {container}", container).runs:
            raise _refused(f"run {argv[0]} in container {container}", f"Container {container} is not running", 409)
        return self.answers(container, argv)

    def logs(self, container: str, *, lines: int | None = None) -> str:  # noqa: ARG002 -- all of it
        """Return the value that the test has set, "" by default."""
        found = self._require(f"read the log of container {container}", container)
        return self.written.get(found.name, "")

    @_one_at_a_time
    def events(self, labels: Mapping[str, str], callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` for each event, in the thread that causes it."""
        entry = (dict(labels), callback)
        self._listeners.append(entry)
        callback(Event(CONNECTED))
        return lambda: self._listeners.remove(entry)

    # ---- what a test may do in addition
    @_one_at_a_time
    def end(self, container: str, code: int = 0) -> None:
        """End a container's process, if it runs."""
        found = self._containers[container]
        if found.runs:
            self._containers[container] = replace(found, state=EXITED, pid=0, exit_code=code)
            self._tell("die", self._containers[container])

    @_one_at_a_time
    def pause(self, container: str) -> None:
        """Freeze the processes of a container."""
        self._containers[container] = replace(self._containers[container], state=PAUSED)

    @_one_at_a_time
    def disconnect(self, container: str) -> None:
        """Disconnect a container from its network."""
        self._containers[container] = replace(self._containers[container], networks=())

    @_one_at_a_time
    def lose(self) -> None:
        """Restart the engine: every container ends."""
        for one in tuple(self._containers):
            self.end(one, KILLING["SIGKILL"])
        for _, callback in self._listeners:
            callback(Event(CONNECTED))

    # ---- images
    def has_image(self, name: str) -> bool:
        """Return whether an image exists."""
        return name in self.images

    def image_id(self, name: str) -> str:
        """Return the identity of an image."""
        self.image_labels(name)
        return f"sha256:{name}"

    def image_labels(self, name: str) -> Mapping[str, str]:
        """Return the labels of an image."""
        if name not in self.images:
            raise _refused(f"inspect image {name}", f"No such image: {name}", 404)
        return self.images[name]

    def image_user(self, name: str) -> str | None:
        """Return the user that the test has set, by default root; None if the image is missing."""
        if not NAME.match(name):
            raise _refused(f"inspect image {name}", "invalid reference format", 400)
        return self.users.get(name, "") if name in self.images else None

    def find_images(self, labels: Mapping[str, str]) -> list[Image]:
        """Return the images with all these labels."""
        return [Image(self.image_id(name), (name,), has) for name, has in sorted(self.images.items()) if _has(has, labels)]

    def pull(self, name: str) -> None:
        """Copy an image of the registry."""
        if name not in self.registry:
            raise _refused(f"pull image {name}", f"pull access denied for {name}, repository does not exist", 404)
        self.images.setdefault(name, {})

    def build(self, context: bytes, tag: str, labels: Mapping[str, str]) -> None:
        """Store an image with these labels, and those of the Dockerfile."""
        with tarfile.open(fileobj=io.BytesIO(context)) as archive:
            found = archive.extractfile("Dockerfile")
            lines = found.read().decode().replace("\\\n", "").splitlines() if found else []
        words = [word for line in lines if line.startswith("LABEL ") for word in shlex.split(line)[1:]]
        self.images[tag] = {**dict(word.split("=", 1) for word in words), **labels}

    def import_image(self, archive: str, name: str, labels: Mapping[str, str], command: str) -> None:  # noqa: ARG002 -- any will do
        """Store an image with these labels."""
        self.images[name] = dict(labels)

    def remove_image(self, name: str) -> None:
        """Remove an image."""
        self.images.pop(name, None)

    # ---- networks
    def create_network(self, spec: NetworkSpec) -> Network:
        """Create a network; its name and addresses must be free."""
        doing, wanted = f"create network {spec.name} with {spec.subnet}", IPv4Network(spec.subnet)
        if any(found.name == spec.name for found in self._networks.values()):
            raise _refused(doing, f"network with name {spec.name} already exists", 409)
        if any(wanted.overlaps(IPv4Network(subnet)) for found in self._networks.values() for subnet in found.subnets):
            raise _refused(doing, "Pool overlaps with other one on this address space", 403)
        made = Network(f"{next(self._numbers):064x}", spec.name, dict(spec.labels), (spec.subnet,))
        self._networks[made.id] = made
        return made

    def networks(self, labels: Mapping[str, str]) -> list[Network]:
        """Return the networks with all these labels."""
        found = [network for network in self._networks.values() if _has(network.labels, labels)]
        return sorted(found, key=lambda network: network.name)

    def remove_network(self, network: str) -> None:
        """Remove a network by name or id."""
        self._networks = {key: found for key, found in self._networks.items() if network not in {key, found.name}}

    def close(self) -> None:
        """Do nothing: there is no connection."""

    # ---- internals
    def _require(self, doing: str, container: str) -> Container:
        if container not in self._containers:
            raise _refused(doing, f"No such container: {container}", 404)
        return self._containers[container]

    def _tell(self, action: str, container: Container) -> None:
        news = Event(action, container.id, container.name, container.labels, container.exit_code)
        for labels, callback in tuple(self._listeners):
            if _has(container.labels, labels):
                callback(news)


def _has(present: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Return whether all wanted labels exist; "" matches any value."""
    return all(name in present and value in {"", present[name]} for name, value in wanted.items())


def _refused(doing: str, words: str, code: int) -> EngineError:
    return EngineError(f"the container engine could not {doing}: {words}", code=code)
