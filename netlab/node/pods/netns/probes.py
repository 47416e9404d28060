"""Commands of exec probes, as processes inside pods (runtime `netns`).

The output of a command is for a message of 200 characters. It goes through a pipe that is read while
the command runs: the last part is kept, the rest is dropped, and nothing is stored on the disk.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from netlab.errors import NetlabError
from netlab.node.pods.capabilities import granted
from netlab.node.pods.readiness import Result
from netlab.node.pods.runtime import LONGEST_OUTPUT, Run, command_result, command_timed_out
from netlab.process import records
from netlab.process.records import PROBE_PREFIX
from netlab.process.spawner import ContainerSpec, Exit, ProcessSpawner
from netlab.state import StateDirectory

LONGEST_KEPT: Final = 4 * LONGEST_OUTPUT  # bytes; a character has four at most
CHUNK: Final = 1 << 14
FULL_PIPE: Final = 1 << 16  # pipe(7)


class CommandRunner:
    """Runs the commands of exec probes inside pods."""

    def __init__(self, spawner: ProcessSpawner, state: StateDirectory) -> None:
        self._spawner = spawner
        self._state = state
        self._ends: dict[str, asyncio.Future[Exit]] = {}
        self._count = 0
        spawner.subscribe(self._ended)

    def _ended(self, news: Exit) -> None:
        if (end := self._ends.pop(news.name, None)) and not end.done():
            end.set_result(news)

    async def probe(self, run: Run, argv: tuple[str, ...], limit: float) -> Result:
        """Run a command in a container; success is exit code 0 within `limit` seconds."""
        folder = run.files.folder
        self._count += 1  # the end of a command that was killed comes later, when the next one may run
        name = f"{PROBE_PREFIX}{folder.name}-{run.container.name}-{self._count}"
        end = self._ends[name] = asyncio.get_running_loop().create_future()
        try:
            with _Listening(folder / f"{run.container.name}.probe") as output:
                spec = ContainerSpec(
                    name,
                    run.namespace,
                    argv,
                    str(output.pipe),
                    environment=run.environment.whole,
                    files=str(folder),
                    kept=False,
                    capabilities=granted(run.container),
                )
                await self._spawner.spawn_container(spec)
                news = await asyncio.wait_for(end, limit)
                words = output.text()
        except TimeoutError:
            return command_timed_out(argv, limit)
        except NetlabError as error:
            return Result(success=False, message=error.message)
        except OSError as error:
            return Result(success=False, message=f"{error.filename}: {error.strerror}")
        finally:
            self._ends.pop(name, None)
            if record := records.read_record(self._state, name):
                records.send(record, signal.SIGKILL)
        return command_result(news.code, words)


class _Listening:
    """A pipe at a path, read by the event loop for a `with` block; the end of what came through it is kept."""

    def __init__(self, pipe: Path) -> None:
        self.pipe = pipe
        self._kept = b""
        self._descriptor = -1

    def __enter__(self) -> Self:
        self.pipe.unlink(missing_ok=True)
        os.mkfifo(self.pipe, 0o600)
        self._descriptor = os.open(self.pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # for writing, too: no end is reported
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self.pipe.unlink(missing_ok=True)

    def text(self) -> str:
        """Return the end of what was written up to now."""
        for _ in range(FULL_PIPE // CHUNK):  # not until it is empty: a child of the command may write for ever
            self._read()
        return self._kept.decode(errors="replace")

    def _read(self) -> None:
        with suppress(BlockingIOError):
            self._kept = (self._kept + os.read(self._descriptor, CHUNK))[-LONGEST_KEPT:]
