"""An API server as a process of its own, with a limit of open files: `api_process.py LIMIT PKI SOCKET`.

It prints its port of loopback, and from then on one line per line that it reads: how many descriptors it has open and how
much memory it uses, in KiB. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from asyncio import sslproto
from pathlib import Path

from netlab.controlplane.api import Api
from netlab.controlplane.auth import TokenTable
from netlab.controlplane.certificates import ensure_pki
from netlab.controlplane.connections import TLS_BUFFER, api_roster
from netlab.controlplane.server import serve
from netlab.controlplane.store import Store
from netlab.process import logs


def _memory() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def _descriptors() -> int:
    return len(tuple(Path("/proc/self/fd").iterdir()))


def _say(*values: int) -> None:
    sys.stdout.write(" ".join(map(str, values)) + "\n")
    sys.stdout.flush()


async def main(limit: int, folder: Path, path: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    logs.configure()
    sslproto.SSLProtocol.max_size = TLS_BUFFER
    store = Store.open(":memory:")
    api = Api(store, tokens=TokenTable.of({"admin": "admin-token"}))
    tcp, unix = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
    unix.bind(path)
    tls = ensure_pki(folder, ["127.0.0.1"]).server_context()
    handle = await serve(api, [tcp, unix], tls, roster=api_roster())
    _say(tcp.getsockname()[1])
    while await asyncio.to_thread(sys.stdin.readline):
        _say(_descriptors(), _memory())
    await handle.close()
    store.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
