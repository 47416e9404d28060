"""kuard: the demo of "Kubernetes: Up and Running", as far as the network lessons use it.

/healthy and /ready answer 200 `ok` or 500 `fail`. PUT or POST {"failNext": n} to /ready/api makes the next n requests
fail (-1: all of them, 0: none); /ready/api/fail and /ready/api/ok are short for -1 and 0. The same under /healthy.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import msgspec

from netlab.http.messages import Request, Response, html, json, text
from netlab.workloads.servers.base import Listener, Process

PORT = 8080
FOR_EVER = -1
SHORT = {"fail": FOR_EVER, "ok": 0}
PAGE = """<!DOCTYPE html>
<html><head><title>KUAR Demo</title></head><body><h1>KUAR Demo</h1>
<p>Pod {pod} on {node}, request from {client}.</p>
<p><a href="/env">environment</a> <a href="/healthy">healthy</a> <a href="/ready">ready</a></p></body></html>
"""


class Order(msgspec.Struct, rename="camel"):
    """The settings of a health endpoint."""

    fail_next: int


ORDERS = msgspec.json.Decoder(Order, strict=False)


@dataclass
class Switch:
    """A health endpoint that can be set to fail."""

    fail_next: int = 0
    served: int = 0

    def answer(self) -> Response:
        """Count one request and answer it."""
        self.served += 1
        if self.fail_next == 0:
            return text("ok")
        if self.fail_next > 0:
            self.fail_next -= 1
        return text("fail", status=500)

    def state(self) -> Response:
        return json({"failNext": self.fail_next, "served": self.served})


def kuard(process: Process) -> tuple[Listener, ...]:
    """Return kuard on port 8080."""
    spec = process.spec
    switches = {"healthy": Switch(), "ready": Switch()}

    async def answer(request: Request) -> Response:
        first, *rest = request.path.strip("/").split("/")
        if first == "":
            page = PAGE.format(pod=escape(spec.pod), node=escape(spec.node), client=request.client)
            return html(page)
        if first == "env":
            return json({"commandLine": ["/kuard", *spec.args], "env": spec.environment})
        if first in switches:
            return _switch(request, switches[first], rest)
        return text("404 page not found\n", status=404)

    return (Listener(PORT, http=answer),)


def _switch(request: Request, switch: Switch, rest: list[str]) -> Response:
    if not rest:
        return switch.answer()
    if rest[0] != "api" or (rest[1:] and rest[1] not in SHORT):
        return text("404 page not found\n", status=404)
    if request.method in {"PUT", "POST"}:
        try:
            switch.fail_next = SHORT[rest[1]] if rest[1:] else ORDERS.decode(request.body).fail_next
        except msgspec.DecodeError:
            return text('expected {"failNext": <number>}\n', status=400)
    return switch.state()
