"""Workloads that answer one kind of page: color, nginx, whoami, http-echo; and pause, which answers nothing."""

from __future__ import annotations

from html import escape

from netlab.api.numbers import whole_number
from netlab.errors import printable
from netlab.http.messages import Request, Response, html, json, text
from netlab.workloads.servers.base import BadArgumentsError, Listener, Process, flag, port_flag

HTTP_PORT = 80
HTTP_ECHO_PORT = 5678

COLOR_PAGE = """<!DOCTYPE html>
<html><head><title>{pod}</title></head>
<body style="background-color:{color};font-family:sans-serif">
<p style="background-color:white;display:inline-block;padding:1em">
This is pod {namespace}/{pod} on {node}, serving {path} for {client}.</p>
</body></html>
"""
NGINX_PAGE = """<!DOCTYPE html>
<html><head><title>Welcome to nginx!</title></head>
<body><h1>Welcome to nginx!</h1><p>netlab's built-in nginx, pod {pod}.</p></body></html>
"""


def color(process: Process) -> tuple[Listener, ...]:
    """Return jpetazzo/color: a page in the color that the pod's name begins with; JSON when asked for it."""
    spec = process.spec
    shade = spec.pod.partition("-")[0]

    async def answer(request: Request) -> Response:
        if wants_json(request):
            facts = {"pod": spec.pod, "namespace": spec.namespace, "node": spec.node, "color": shade, "client": request.client,
                     "path": request.path}  # fmt: skip
            return json(facts)
        names = {"pod": spec.pod, "namespace": spec.namespace, "node": spec.node, "color": shade, "path": request.path}
        return html(COLOR_PAGE.format(client=request.client, **{key: escape(value) for key, value in names.items()}))

    return (Listener(HTTP_PORT, http=answer),)


def wants_json(request: Request) -> bool:
    """Return whether the client asked for JSON, by ?format=json or by its Accept header."""
    return request.query.get("format") == "json" or "application/json" in request.header("Accept")


def nginx(process: Process) -> tuple[Listener, ...]:
    """Return nginx with its first page and 404 for the rest."""

    async def answer(request: Request) -> Response:
        if request.path not in {"/", "/index.html"}:
            return text("404 Not Found\n", status=404)
        return html(NGINX_PAGE.format(pod=escape(process.spec.pod)))

    return (Listener(HTTP_PORT, http=answer),)


def whoami(process: Process) -> tuple[Listener, ...]:
    """Return traefik/whoami: the request as received. `--port` as in the original."""
    spec = process.spec
    written = flag(spec.args, "port", spec.environment.get("WHOAMI_PORT_NUMBER", "")) or str(HTTP_PORT)
    port = whole_number(written, least=1, most=65535)
    if not port:  # the program takes any text, and fails when it listens
        raise BadArgumentsError(f"listen tcp: lookup tcp/{printable(written)}: unknown port", code=1)

    async def answer(request: Request) -> Response:
        if request.path == "/health":
            return text("")
        return text("\n".join(describe(process, request)) + "\n")

    return (Listener(port, http=answer),)


def describe(process: Process, request: Request) -> list[str]:
    """Return a request as lines: server, client, request line, headers."""
    return [
        f"Hostname: {process.spec.environment.get('HOSTNAME', process.spec.pod)}",
        f"IP: {process.spec.address}",
        f"RemoteAddr: {request.client}",
        f"{request.method} {request.target} HTTP/{request.version}",
        *(f"{name}: {value}" for name, value in request.headers),
    ]


def http_echo(process: Process) -> tuple[Listener, ...]:
    """Return hashicorp/http-echo: the text of `-text` (or ECHO_TEXT) on the port of `-listen`."""
    spec = process.spec
    words = flag(spec.args, "text", spec.environment.get("ECHO_TEXT", "hello-world"))
    status = flag(spec.args, "status-code", "200")
    code = whole_number(status, least=200, most=599)
    if not code:
        raise BadArgumentsError(f'-status-code: invalid status "{printable(status)}"')

    async def answer(request: Request) -> Response:
        if request.path == "/health":
            return json({"status": "ok"})
        return text(f"{words}\n", status=code)

    return (Listener(port_flag(spec.args, "listen", HTTP_ECHO_PORT), http=answer),)


def pause(_process: Process) -> tuple[Listener, ...]:
    """Return the pause container: it holds an address and does nothing."""
    return ()
