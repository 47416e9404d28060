"""The end of what one side of a connection sends.

asyncio's `write_eof` raises OSError 107 when the other side has reset the connection already; with bytes still to send it does
so later, inside the event loop, which logs a traceback that no handler can prevent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket


def end_sending(transport: asyncio.WriteTransport) -> None:
    """Shut down the sending side of a plain TCP connection; one that has ended already is left alone.

    The caller has waited until the transport's buffer is empty (write buffer limit 0), and writes nothing afterwards.
    """
    connection = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the other side is gone; asyncio reports that as the loss of the connection
        connection.shutdown(socket.SHUT_WR)
