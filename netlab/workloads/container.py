"""One built-in workload as the program of a container: `python3 -m netlab.workloads.container ARGUMENTS`.

The server is the one of runtime `netns` (`workloads_serving`); its log is the container's output. ARGUMENTS is a
`WorkloadArguments` as JSON. The kubelet receives on the socket `ready` when the server listens, and that it handles signals:
as a container's first process it would not even notice one that it has no handler for.

    SIGUSR1   the pod is terminating: send clients away after their answer, serve on
    SIGTERM   no rule leads here any more: finish what is being served, and end
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys

import msgspec

from netlab.serving.descriptors import raise_limit
from netlab.workloads.protocol import ServerStatus, WorkloadArguments
from netlab.workloads.serving import ServedWorkload


def main() -> None:
    """Serve until asked to end; the exit code is the server's."""
    raise_limit()
    arguments = msgspec.json.decode(sys.argv[1], type=WorkloadArguments)
    sys.exit(asyncio.run(serve(arguments)))


async def serve(arguments: WorkloadArguments) -> int:
    """Serve, and return the exit code."""
    changed, ending = asyncio.Event(), asyncio.Event()
    spec = msgspec.structs.replace(arguments.spec, environment=dict(os.environ))
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    served = ServedWorkload(spec, changed.set, output)

    def drain() -> None:
        served.spec = msgspec.structs.replace(served.spec, draining=True)

    def end() -> None:
        drain()
        ending.set()
        changed.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, drain)
    loop.add_signal_handler(signal.SIGTERM, end)
    await served.start()
    tell(arguments.ready, served.status)
    while served.code is None and not ending.is_set():
        await changed.wait()
        changed.clear()
    if served.code is None:
        await served.drained()
    await served.close()
    return served.code or 0


def tell(path: str, status: ServerStatus) -> None:
    """Report to the kubelet that the server has started. If it does not run: it asks the engine when it comes back."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(msgspec.json.encode(status), path)


if __name__ == "__main__":
    main()
