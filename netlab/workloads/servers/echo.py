"""netlab/echo: echo on every port that the container declares.

TCP: what looks like an HTTP request is answered as HTTP (the request as received), everything else comes back as it
is. UDP: the datagram comes back behind the lines that name server and client:

    X-Netlab-Pod: toolbox-x7k2p
    X-Netlab-Client: 10.244.2.3:51234
    <empty line>
    <the datagram>
"""

from __future__ import annotations

from netlab.http.messages import Request, Response, text
from netlab.workloads.servers.base import CLIENT_HEADER, POD_HEADER, Listener, Process
from netlab.workloads.servers.pages import describe


def echo(process: Process) -> tuple[Listener, ...]:
    """Return a listener for each declared port; none declared, none opened."""
    pod = process.spec.pod

    async def answer(request: Request) -> Response:
        return text("\n".join([*describe(process, request), "", request.text]))

    def datagram(data: bytes, client: str) -> bytes | None:
        return f"{POD_HEADER}: {pod}\n{CLIENT_HEADER}: {client}\n\n".encode() + data

    return tuple(
        Listener(port, "UDP", datagram=datagram) if protocol == "UDP" else Listener(port, http=answer, raw=True)
        for port, protocol in sorted(set(process.spec.ports))
        if protocol in {"TCP", "UDP"}
    )
