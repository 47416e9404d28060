"""The built-in workloads (`netlab.api.catalogue`): what each answers, on which ports.

A server is a function from a `ServerSpec` to listeners, and a handler one from a request to a response (`http_messages`);
`http_server` carries those over a connection. Nothing here opens a socket. Every answer states who gave it
(`X-Netlab-Pod`) and which client address was seen (`X-Netlab-Client`), because that is what a lesson on Services is
about, and what `netlab test connectivity` reads.
"""

from __future__ import annotations

from netlab.workloads.servers.agnhost import agnhost
from netlab.workloads.servers.base import Listener, ServerFactory
from netlab.workloads.servers.echo import echo
from netlab.workloads.servers.kuard import kuard
from netlab.workloads.servers.pages import color, http_echo, nginx, pause, whoami

SERVERS: dict[str, ServerFactory] = {
    "agnhost": agnhost,
    "color": color,
    "echo": echo,
    "http-echo": http_echo,
    "kuard": kuard,
    "nginx": nginx,
    "pause": pause,
    "whoami": whoami,
}

__all__ = ["SERVERS", "Listener", "ServerFactory"]
