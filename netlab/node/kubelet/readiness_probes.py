"""The effects of readiness probes: httpGet and tcpSocket from the pod's node, exec inside the container.

A kubelet probes from the node, so the socket is made in the node's namespace: the pod sees the node's address on
cni0 as the client. Probing costs no process: one non-blocking socket per probe, in the daemon's event loop.
An HTTP answer from 200 to 399 is a success, as for kubelet; a redirect is not followed. TLS is not verified.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from netlab.api.numbers import is_digits
from netlab.api.pods import Container, HTTPGetAction, Probe
from netlab.errors import KernelError
from netlab.kernel.door import Kernel
from netlab.node.pods.readiness import Result
from netlab.process.podfiles import port_of

USER_AGENT = "kube-probe/netlab"
LONGEST_STATUS_LINE = 4096
NOT_HTTP = "the response is not HTTP"

RunCommand = Callable[[tuple[str, ...], float], Awaitable[Result]]


@dataclass(frozen=True)
class Target:
    """Where to probe: the pod's address, seen from the node's namespace."""

    node_namespace: str
    address: str
    container: Container


async def probe_once(kernel: Kernel, probe: Probe, target: Target, run_command: RunCommand) -> Result:
    """Run one probe to its end or its timeout."""
    timeout = max(1, probe.timeout_seconds)
    if probe.exec is not None:
        return await run_command(probe.exec.command, timeout)
    try:
        async with asyncio.timeout(timeout):
            if probe.http_get is not None:
                return await _http(kernel, probe.http_get, target)
            if probe.tcp_socket is not None:
                return await _tcp(kernel, probe.tcp_socket.host, probe.tcp_socket.port, target)
    except TimeoutError:
        return Result(success=False, message=f"no answer within {timeout} s")
    except (OSError, KernelError) as error:
        return Result(success=False, message=str(error))
    return Result(success=False, message="the probe has no httpGet, tcpSocket or exec")


async def _tcp(kernel: Kernel, host: str, port: int | str, target: Target) -> Result:
    connection = await _connect(kernel, host or target.address, port, target)
    connection.close()
    return Result(success=True)


async def _http(kernel: Kernel, action: HTTPGetAction, target: Target) -> Result:
    connection = await _connect(kernel, action.host or target.address, action.port, target)
    secure = _unverified() if action.scheme == "HTTPS" else None
    reader, writer = await asyncio.open_connection(
        sock=connection, ssl=secure, server_hostname="" if secure else None, limit=LONGEST_STATUS_LINE
    )
    try:
        writer.write(_request(action, target))
        status = await reader.readline()
    except ValueError:  # a line that does not end
        return Result(success=False, message=NOT_HTTP)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):  # the answer is known, how the server closes does not matter
            await writer.wait_closed()
    return verdict(status)


def verdict(status_line: bytes) -> Result:
    """Judge an HTTP status line as kubelet does."""
    words = status_line.decode("latin-1").split(None, 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not is_digits(words[1]):
        return Result(success=False, message=NOT_HTTP)
    code = int(words[1])
    if 200 <= code < 400:
        return Result(success=True)
    return Result(success=False, message=f"HTTP probe failed with statuscode: {code}")


def _request(action: HTTPGetAction, target: Target) -> bytes:
    port = port_of(target.container, action.port)
    headers: Mapping[str, str] = {"Host": f"{action.host or target.address}:{port}", "User-Agent": USER_AGENT, "Accept": "*/*"}
    merged = {**headers, **{h.name: h.value for h in action.http_headers}, "Connection": "close"}
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in merged.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1", errors="replace")


async def _connect(kernel: Kernel, host: str, port: int | str, target: Target) -> socket.socket:
    number = port_of(target.container, port)
    if not number:
        raise OSError(f"the container declares no port named {port!r}")
    with kernel.inside(target.node_namespace):
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (host, number))
    except (OverflowError, UnicodeError) as error:  # no such port, no such name
        connection.close()
        raise OSError(f"dial tcp {host}:{number}: {error}") from error
    except OSError as error:
        connection.close()
        raise OSError(f"dial tcp {host}:{number}: connect: {os.strerror(error.errno or 0).lower()}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
