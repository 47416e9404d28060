"""The connectivity test's own servers, in a lab whose routes somebody has broken."""

from __future__ import annotations

import errno

from netlab.probe.run.servers import Servers


class Cut:
    """A socket that hears a client and has no route back to it."""

    def __init__(self):
        self.messages = [(b"x", ("172.30.1.1", 4000)), (b"y", ("172.30.1.1", 4001))]
        self.tried = []

    def recvfrom(self, _length):
        if not self.messages:
            raise BlockingIOError
        return self.messages.pop(0)

    def sendto(self, _message, destination):
        self.tried.append(destination)
        raise OSError(errno.ENETUNREACH, "Network is unreachable")


def test_a_client_that_cannot_be_answered():
    """It gets no answer, which its check reports; the server goes on with the next one, and nothing is printed."""
    sock = Cut()

    Servers(enter=lambda _place: None)._answer(sock)

    assert [("172.30.1.1", 4000), ("172.30.1.1", 4001)] == sock.tried
