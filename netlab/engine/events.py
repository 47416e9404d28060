"""Events of containers from the engine, received in a thread that reconnects."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import docker
import requests
from docker.errors import DockerException

from netlab.engine.codec import event_of, label_filters, moment
from netlab.engine.protocol import CONNECTED, Event

ANSWER_TIMEOUT = 120  # seconds until the first answer of the stream of events
RECONNECT_SECONDS = 0.5  # seconds between attempts to reconnect to the engine
NEWS = ("start", "die", "destroy")


class Listener:
    """A thread that receives the engine's events, and reconnects if the engine was unavailable."""

    def __init__(self, address: str, labels: Mapping[str, str], callback: Callable[[Event], None]) -> None:
        self._address = address
        self._filters = {"type": "container", "event": list(NEWS), "label": label_filters(labels)}
        self._callback = callback
        self._ending = threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._listen, name="engine events", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop listening; after the return there are no more callbacks."""
        self._ending.set()
        with suppress(OSError, AttributeError):  # the engine closed it, perhaps at this moment
            if self._stream is not None:
                self._stream.close()
        self._thread.join()

    def _listen(self) -> None:
        while not self._ending.is_set():
            with suppress(DockerException, requests.exceptions.RequestException):  # unavailable: try again
                self._hear()
            self._ending.wait(RECONNECT_SECONDS)

    def _hear(self) -> None:
        since = moment(time.time_ns())  # includes events during the connection setup
        with docker.APIClient(self._address, version="auto", timeout=ANSWER_TIMEOUT) as client:
            self._stream = client.events(since=since, filters=self._filters, decode=True)  # type: ignore[call-overload]
            try:
                self._callback(Event(CONNECTED))
                if not self._ending.is_set():
                    for entry in self._stream:
                        self._callback(event_of(entry))
            finally:  # the SDK's own `close` shuts the socket down and leaves its descriptor to the garbage collector
                self._stream._response.close()  # noqa: SLF001 -- the SDK offers no other way
