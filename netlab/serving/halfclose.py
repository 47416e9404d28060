"""Shut down the sending side of a connection.

asyncio's `write_eof` raises OSError 107 if the other side has reset the connection already. With
bytes still to send it raises later, inside the event loop, which logs a traceback that no handler
can prevent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket


def end_sending(transport: asyncio.WriteTransport) -> None:
    """Shut down the sending side of a plain TCP connection; does nothing if it has ended already.

    The caller has waited until the transport's buffer is empty (write buffer limit 0), and writes
    nothing afterwards.
    """
    connection = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the other side has closed; asyncio reports the loss of the connection
        connection.shutdown(socket.SHUT_WR)
