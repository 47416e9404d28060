"""What a server of a node is asked and what it answers, without a socket (pure). `http_server` carries both over a connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

# A request's target: `/path?query`, `http://host/path?query` when the client takes this server for a proxy, or `*`.
TARGET = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?]*)?([^?]*)\??(.*)")
PLAIN, PAGE, JSON = "text/plain; charset=utf-8", "text/html; charset=utf-8", "application/json; charset=utf-8"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request. `target` and `headers` are as they arrived, in order."""

    method: str = "GET"
    target: str = "/"
    version: str = "1.1"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    client: str = ""  # address:port of the sender as the server saw it

    @property
    def path(self) -> str:
        """Return the target's path, decoded."""
        return unquote(self._parts[0]) or "/"

    @property
    def query(self) -> dict[str, str]:
        """Return the target's parameters, decoded; of several with one name the first."""
        return dict(reversed(parse_qsl(self._parts[1], keep_blank_values=True)))

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode("utf-8", errors="replace")

    def header(self, name: str) -> str:
        """Return the first header of that name, in whatever case, or ""."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def _parts(self) -> tuple[str, str]:
        found = TARGET.match(self.target)
        return (found[1], found[2]) if found else ("", "")


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """An answer. The connection adds Date, Server and Content-Length, and ends behind one that is the `last`."""

    status: int = 200
    body: bytes = b""
    content_type: str = PLAIN
    headers: tuple[tuple[str, str], ...] = ()
    last: bool = False


HttpHandler = Callable[[Request], Coroutine[Any, Any, Response]]


def text(body: str, *, status: int = 200) -> Response:
    """Return a plain-text answer."""
    return Response(status=status, body=body.encode())


def html(body: str) -> Response:
    """Return a page."""
    return Response(body=body.encode(), content_type=PAGE)


def json(value: object) -> Response:
    """Return an answer that programs read, and people too: on one line, with spaces."""
    return Response(body=msgspec.json.format(msgspec.json.encode(value), indent=0), content_type=JSON)
