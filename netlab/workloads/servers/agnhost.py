"""agnhost, the image of Kubernetes' own end-to-end tests: netexec, serve-hostname, pause (its default)."""

from __future__ import annotations

from netlab.api.numbers import whole_number
from netlab.http.messages import HttpHandler, Request, Response, text
from netlab.workloads.servers.base import (
    BadArgumentsError,
    DatagramHandler,
    Listener,
    Process,
    ServerFactory,
    port_flag,
)

NETEXEC_HTTP, NETEXEC_UDP, SERVE_HOSTNAME = 8080, 8081, 9376
DISABLED = -1


def agnhost(process: Process) -> tuple[Listener, ...]:
    """Return the subcommand that the args name."""
    words = [word for word in process.spec.args if not word.startswith("-")]
    name = words[0] if words else "pause"
    if name not in SUBCOMMANDS:
        raise BadArgumentsError(f'unknown command "{name}" for "app"; netlab\'s agnhost has {", ".join(SUBCOMMANDS)}')
    return SUBCOMMANDS[name](process)


def netexec(process: Process) -> tuple[Listener, ...]:
    """Return netexec: HTTP /hostname, /clientip, /echo, /healthz, /shutdown, /exit; the first three by UDP too."""
    args = process.spec.args
    http = Listener(port_flag(args, "http-port", NETEXEC_HTTP), http=_netexec_http(process))
    if f"--udp-port={DISABLED}" in args:
        return (http,)
    return http, Listener(port_flag(args, "udp-port", NETEXEC_UDP), "UDP", datagram=_netexec_udp(process))


def _netexec_http(process: Process) -> HttpHandler:
    async def answer(request: Request) -> Response:
        path, query = request.path, request.query
        if path in {"/exit", "/shutdown"}:
            code = query.get("code", "0")
            process.exit(whole_number(code) & 0xFF)
            return text("")
        table = {
            "/": "NOW: netlab",
            "/healthz": "",
            "/hostname": hostname(process),
            "/hostName": hostname(process),
            "/clientip": request.client,
            "/echo": query.get("msg", ""),
            "/header": request.header(query.get("key", "")),
        }
        if path not in table:
            return text("404 page not found\n", status=404)
        code = query.get("code", "200") if path == "/echo" else "200"
        return text(table[path], status=whole_number(code, 200, least=200, most=599))

    return answer


def _netexec_udp(process: Process) -> DatagramHandler:
    def answer(data: bytes, client: str) -> bytes | None:
        word, _, rest = data.decode("utf-8", errors="replace").strip().partition(" ")
        table = {"hostname": hostname(process), "hostName": hostname(process), "clientip": client, "echo": rest}
        return table[word].encode() if word in table else None

    return answer


def serve_hostname(process: Process) -> tuple[Listener, ...]:
    """Return serve-hostname: the pod's name over HTTP, with `--udp` over UDP instead."""
    port = port_flag(process.spec.args, "port", SERVE_HOSTNAME)
    name = hostname(process)

    async def answer(_request: Request) -> Response:
        return text(name)

    def datagram(_data: bytes, _client: str) -> bytes | None:
        return f"{name}\n".encode()

    if "--udp" in process.spec.args or "--udp=true" in process.spec.args:
        return (Listener(port, "UDP", datagram=datagram),)
    return (Listener(port, http=answer),)


def hostname(process: Process) -> str:
    """Return the pod's hostname, which is its name unless the spec sets another."""
    return process.spec.environment.get("HOSTNAME", process.spec.pod)


SUBCOMMANDS: dict[str, ServerFactory] = {"netexec": netexec, "serve-hostname": serve_hostname, "pause": lambda _process: ()}
