"""Commands of exec probes, as processes inside pods (runtime `netns`)."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from netlab.errors import NetlabError
from netlab.node import processes
from netlab.node.capabilities import granted
from netlab.node.pod_runtime import Run
from netlab.node.processes import PROBE_PREFIX
from netlab.node.readiness import Result
from netlab.node.spawn import ContainerSpec, Exit, ProcessSpawner
from netlab.runtime.statedir import StateDirectory

LONGEST_WORDS = 200


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

    async def probe(self, run: Run, argv: tuple[str, ...], limit: float) -> Result:
        """Run a command in a container; success is exit code 0 within `limit` seconds."""
        folder = run.files.folder
        name = f"{PROBE_PREFIX}{folder.name}-{run.container.name}"
        output = folder / f"{run.container.name}.probe"
        end = self._ends[name] = asyncio.get_running_loop().create_future()
        try:
            spec = ContainerSpec(
                name,
                run.namespace,
                argv,
                str(output),
                environment=run.environment.whole,
                files=str(folder),
                capabilities=granted(run.container),
            )
            await self._spawner.spawn_container(spec)
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


def _tail(output: Path) -> str:
    return output.read_text(encoding="utf-8", errors="replace").strip()[-LONGEST_WORDS:] if output.exists() else ""
