"""The engine of this machine through the Docker SDK: `docker.Engine` put into calls of its HTTP API.

The SDK's low level is used: a container is started by three calls (create, start, inspect), and the body of the first is
written by us in the API's own words (`docker_words`), so that what is asked for can be read and tested as a value.

Everything the SDK raises is translated at one place (`_translated`). An engine that does not answer is the machine's
fault (UnsupportedHostError), one that refuses is an EngineError with its own words and, where we know one, a remedy.
"""

from __future__ import annotations

import errno
import io
import os
import signal as signals
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException
from docker.types import IPAMConfig, IPAMPool
from docker.utils.socket import frames_iter

from netlab.errors import EngineError, UnsupportedHostError, is_not_found
from netlab.runtime.docker import CONNECTED, PAUSED, Container, ContainerSpec, Event, Image, Network, NetworkSpec, same_owner
from netlab.runtime.docker_words import container_body, container_of, event_of, image_of, label_filters, network_of, remedy

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")
HOST_VARIABLE = "DOCKER_HOST"
OWN_SOCKET = "unix:///var/run/docker.sock"
PATIENCE = 120  # seconds for one answer; a busy machine may start a container in ten
WIDTH = 32  # things worked on at the same time
BEGINNING = 0.02  # seconds between questions whether a command has begun
RECONNECT = 0.5  # seconds between attempts to hear events of an engine that is away
NOT_FOUND, CONFLICT = 404, 409  # HTTP codes
NEWS = ("start", "die", "destroy")

UNREACHABLE = {  # why the engine's socket does not answer -> what happened, what to do
    errno.ENOENT: ("is not there", "Install and start the engine: apt-get install -y docker.io. `netlab doctor` looks again."),
    errno.ECONNREFUSED: ("has nobody behind it", "Start the engine: systemctl start docker (or dockerd by hand)."),
    errno.EACCES: ("is not yours to use", "Use sudo: a lab of containers is root's, as its networks are."),
}


class DockerEngine:
    """A connection to the engine of this machine; one may serve all threads.

    Raises UnsupportedHostError when it does not answer.
    """

    def __init__(self) -> None:
        self._address = _own_address()
        with self._translated("tell its version"):
            _require_answer(self._address)
            self._client = docker.APIClient(self._address, version="auto", timeout=PATIENCE, max_pool_size=WIDTH)
            self._client.trust_env = False  # proxies and passwords of the environment: on a Unix socket only a delay, each time

    # ---- containers
    def start(self, specs: Sequence[ContainerSpec]) -> list[Container]:
        """Create and start containers at the same time."""
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
            left = self._inspect(spec.name) if _code(error) == CONFLICT else None
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
            with self._translated(f"look at container {container}"):
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
        """Let containers go on that were paused."""
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
        """End and remove containers with their anonymous volumes."""
        _at_once(self._remove_one, ids)

    def _remove_one(self, container: str) -> None:
        try:
            self._unless({NOT_FOUND}, self._client.remove_container, container, v=True, force=True)
        except EngineError as error:
            if error.code != CONFLICT:
                raise
            self._unless({NOT_FOUND}, self._client.wait, container, condition="removed")  # somebody else removes it just now

    def run(self, container: str, argv: Sequence[str], limit: float) -> tuple[int, str]:
        """Run a command in a container; TimeoutError, and its end, after `limit` seconds."""
        with self._translated(f"run {argv[0]} in container {container}"), ThreadPoolExecutor(1) as reader:
            made = self._client.exec_create(container, list(argv))["Id"]
            output = reader.submit(self._output, made)
            try:
                said = output.result(limit)
            except TimeoutError:
                self._kill_command(made, output)
                raise
            return int(self._client.exec_inspect(made)["ExitCode"] or 0), said.decode(errors="replace")

    def _output(self, command: str) -> bytes:
        """Start a command that was made ready and return what it says until it ends."""
        stream: Any = self._client.exec_start(command, socket=True)
        with closing(stream._response):  # noqa: SLF001 -- the SDK keeps the connection there; closing the stream leaves it open
            return b"".join(said for _, said in frames_iter(stream, tty=False))  # type: ignore[no-untyped-call]

    def _kill_command(self, command: str, output: Future[bytes]) -> None:
        """Kill just this command: its pid is asked for again once it is held, so that it cannot be a stranger's.

        One that has not begun yet has no pid, and that it begins the engine tells nobody who listens for containers.
        """
        while not (pid := self._client.exec_inspect(command)["Pid"]):
            if wait([output], BEGINNING).done:
                return
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                if self._client.exec_inspect(command)["Running"]:
                    signals.pidfd_send_signal(descriptor, signals.SIGKILL)
            finally:
                os.close(descriptor)

    def logs(self, container: str, *, lines: int | None = None) -> str:
        """Return what a container wrote."""
        with self._translated(f"read the log of container {container}"):
            said: bytes = self._client.logs(container, tail="all" if lines is None else lines)
        return said.decode(errors="replace")

    def events(self, labels: Mapping[str, str], callback: Callable[[Event], None]) -> Callable[[], None]:
        """Have news told to `callback` from a thread."""
        return _Listener(self._address, labels, callback).end

    # ---- images
    def has_image(self, name: str) -> bool:
        """Tell whether an image is there."""
        return self.image_user(name) is not None

    def image_id(self, name: str) -> str:
        """Return the identity of an image."""
        return str(self._image(name)["Id"])

    def image_labels(self, name: str) -> Mapping[str, str]:
        """Return the labels of an image."""
        return dict(self._image(name)["Config"].get("Labels") or {})

    def image_user(self, name: str) -> str | None:
        """Return the user that an image runs as, None when it is not there."""
        try:
            return str(self._image(name)["Config"].get("User") or "")
        except EngineError as error:
            if is_not_found(error):
                return None
            raise

    def _image(self, name: str) -> dict[str, Any]:
        with self._translated(f"look at image {name}"):
            found: dict[str, Any] = self._client.inspect_image(name)  # type: ignore[no-untyped-call]
            return found

    def find_images(self, labels: Mapping[str, str]) -> list[Image]:
        """Return the images with all these labels."""
        with self._translated("list images"):
            listed = self._client.images(filters={"label": label_filters(labels)})
        return sorted((image_of(entry) for entry in listed), key=lambda image: image.tags)

    def pull(self, name: str) -> None:
        """Fetch an image from its registry."""
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
        """Make an image of a tar archive."""
        repository, _, tag = name.partition(":")
        changes = [f"LABEL {label}={value}" for label, value in labels.items()]
        changes.append(f'CMD ["{command}"]')
        with self._translated(f"import image {name}"):
            self._client.import_image_from_file(archive, repository, tag, changes)

    def remove_image(self, name: str) -> None:
        """Take a name off an image, and the image away with its last name."""
        self._unless({NOT_FOUND}, self._client.remove_image, name)

    # ---- networks
    def create_network(self, spec: NetworkSpec) -> Network:
        """Make a network."""
        with self._translated(f"make network {spec.name} with {spec.subnet}"):
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
        """Close the connections that wait for the next question."""
        self._client.close()

    # ---- the one place where the SDK's errors become ours
    def _unless(self, codes: set[int], call: Callable[..., object], thing: str, *arguments: object, **options: object) -> None:
        """Make a call whose wish already holds when the engine answers one of `codes`."""
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


@contextmanager
def translated(doing: str, address: str) -> Iterator[None]:
    """Turn what the SDK raises in a `with` block into our errors; `doing` completes "could not"."""
    try:
        yield
    except APIError as error:
        words = (error.explanation or str(error)).strip()
        raise EngineError(f"the container engine could not {doing}: {words}", code=_code(error), remedy=remedy(words)) from error
    except (DockerException, requests.exceptions.RequestException, ConnectionError, FileNotFoundError, PermissionError) as error:
        cause = _cause(error)
        where = address.removeprefix("unix://")
        if cause in UNREACHABLE:
            what, todo = UNREACHABLE[cause]
            named = f", which {HOST_VARIABLE} names," if os.environ.get(HOST_VARIABLE) else ""
            raise UnsupportedHostError(f"no container engine answers: {where}{named} {what}", remedy=todo) from error
        raise EngineError(
            f"the container engine at {where} did not {doing}: {error}", remedy="Its log may say why: journalctl -u docker."
        ) from error


def _code(error: APIError) -> int:
    return int(error.response.status_code) if error.response is not None else 0


def _cause(error: BaseException) -> int:
    """Return the number of the kernel's refusal at the bottom of an error of the HTTP library, 0 when there is none."""
    seen: list[object] = [error]
    while seen:
        item = seen.pop()
        if isinstance(item, OSError) and item.errno in UNREACHABLE:
            return item.errno or 0
        if isinstance(item, BaseException):
            seen += [*item.args, item.__cause__, item.__context__]
    return 0


def _require_answer(address: str) -> None:
    """Raise OSError when nobody listens there: the HTTP library would wrap it four times."""
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(address.removeprefix("unix://"))


def _own_address() -> str:
    """Return where the engine of this machine listens. Raises UnsupportedHostError when another machine's is meant."""
    named = os.environ.get(HOST_VARIABLE) or OWN_SOCKET
    if not named.startswith("unix://"):
        raise UnsupportedHostError(
            f"{HOST_VARIABLE} names an engine that is not on this machine: {named}",
            remedy="A lab of containers is wired by this machine's kernel: unset it, or run netlab where that engine runs.",
        )
    return named


def _at_once(work: Callable[[Argument], Answer], items: Sequence[Argument]) -> list[Answer]:
    """Do the same with many things at the same time; the first error is raised when all have been tried."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(WIDTH, len(items)), thread_name_prefix="engine") as pool:
        futures = [pool.submit(work, item) for item in items]
    return [future.result() for future in futures]


def _follow(doing: str, news: Iterator[dict[str, Any]]) -> None:
    """Follow a build or pull to its end. Raises EngineError with its last words when it failed."""
    lines = list(news)
    words = next((str(line["error"]) for line in lines if "error" in line), "")
    if words:
        said = [text for line in lines if (text := str(line.get("stream") or line.get("status") or "").rstrip())]
        told = "\n".join(f"  {text}" for text in said[-20:])
        raise EngineError(f"the container engine could not {doing}: {words}", remedy=told or remedy(words))


class _Listener:
    """A thread that hears the engine's events, and finds it again when it was away."""

    def __init__(self, address: str, labels: Mapping[str, str], callback: Callable[[Event], None]) -> None:
        self._address = address
        self._filters = {"type": "container", "event": list(NEWS), "label": label_filters(labels)}
        self._callback = callback
        self._ending = threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._listen, name="engine events", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop listening; returns when nothing will be told any more."""
        self._ending.set()
        with suppress(OSError):  # it closed by itself
            if self._stream is not None:
                self._stream.close()
        self._thread.join()

    def _listen(self) -> None:
        while not self._ending.is_set():
            with suppress(DockerException, requests.exceptions.RequestException):  # away: it is asked again
                self._hear()
            self._ending.wait(RECONNECT)

    def _hear(self) -> None:
        since = int(time.time())  # what happens while we connect is told as well
        with docker.APIClient(self._address, version="auto", timeout=PATIENCE) as client:
            self._stream = client.events(since=since, filters=self._filters, decode=True)
            self._callback(Event(CONNECTED))
            if self._ending.is_set():
                return
            for entry in self._stream:
                self._callback(event_of(entry))
