"""How a container is run: as a built-in workload or as a command; and commands that probe."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path

from netlab.api.catalogue import find
from netlab.api.core import Container, Pod
from netlab.errors import NetlabError
from netlab.node import processes
from netlab.node.podfiles import PodFiles, expand
from netlab.node.processes import CONTAINER_PREFIX, PROBE_PREFIX
from netlab.node.readiness import Result
from netlab.node.spawn import ContainerSpec, Exit, ProcessSpawner
from netlab.node.workloads_protocol import ServerSpec
from netlab.runtime.statedir import StateDirectory

LONGEST_WORDS = 200
# The program an image starts by itself: a `command` that names it means the built-in workload, with the rest as args.
ENTRYPOINTS: Mapping[str, tuple[str, ...]] = {
    "agnhost": ("/agnhost", "agnhost"),
    "kuard": ("/kuard",),
    "whoami": ("/whoami",),
    "http-echo": ("/http-echo",),
    "pause": ("/pause",),
    "nginx": (),
    "color": (),
    "echo": (),
}


def builtin_of(container: Container) -> str:
    """Return the built-in workload that runs this container; "" when its own command does."""
    workload = find(container.image)
    if workload is None:
        return ""
    if not container.command or container.command[0] in ENTRYPOINTS.get(workload.server, ()):
        return workload.server
    return ""


def server_spec(
    pod: Pod, container: Container, *, run: int, path: str, environment: dict[str, str], log: str, address: str
) -> ServerSpec:
    """Return what the workloads process is told about a built-in workload."""
    words = (*container.command[1:], *container.args)
    return ServerSpec(
        key=f"{pod.metadata.uid}/{container.name}",
        run=run,
        pod=pod.metadata.name,
        namespace=pod.metadata.namespace,
        node=pod.spec.node_name,
        container=container.name,
        path=path,
        address=address,
        server=builtin_of(container),
        args=tuple(expand(word, environment) for word in words),
        environment=environment,
        ports=tuple((port.container_port, port.protocol) for port in container.ports),
        log=log,
    )


def container_process(uid: str, container: str) -> str:
    """Return the name of a command's process record."""
    return f"{CONTAINER_PREFIX}{uid}-{container}"


class CommandRunner:
    """Runs the commands of exec probes inside pods."""

    def __init__(self, spawner: ProcessSpawner, state: StateDirectory) -> None:
        self._spawner = spawner
        self._state = state
        self._ends: dict[str, asyncio.Future[Exit]] = {}
        spawner.subscribe(self._ended)

    def _ended(self, news: Exit) -> None:
        if (end := self._ends.pop(news.name, None)) and not end.done():
            end.set_result(news)

    async def probe(self, container: str, *, namespace: str, files: PodFiles, argv: tuple[str, ...], limit: float) -> Result:
        """Run a command in a container; success is exit code 0 within `limit` seconds."""
        name = f"{PROBE_PREFIX}{files.folder.name}-{container}"
        output = files.folder / f"{container}.probe"
        environment = await asyncio.to_thread(_read, files, container)
        end = self._ends[name] = asyncio.get_running_loop().create_future()
        try:
            await self._spawner.spawn_container(ContainerSpec(name, namespace, argv, str(output), environment, str(files.folder)))
            news = await asyncio.wait_for(end, limit)
            words = await asyncio.to_thread(_tail, output)
        except NetlabError as error:
            return Result(success=False, message=error.message)
        except TimeoutError:
            return Result(success=False, message=f"command {argv[0]!r} timed out after {limit:g}s")
        finally:
            self._ends.pop(name, None)
            if record := processes.read_record(self._state, name):
                processes.send(record, signal.SIGKILL)
            output.unlink(missing_ok=True)
        return Result(success=news.code == 0, message="" if news.code == 0 else words or f"exit code {news.code}")


def _read(files: PodFiles, container: str) -> dict[str, str]:
    try:
        return dict(json.loads(files.environment(container).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return {}


def _tail(output: Path) -> str:
    return output.read_text(encoding="utf-8", errors="replace").strip()[-LONGEST_WORDS:] if output.exists() else ""
