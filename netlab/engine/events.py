"""News of containers, told from a thread as the engine tells them, also after it was away."""

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

ANSWER_TIMEOUT = 120  # seconds for the answer that begins the news
RECONNECT_SECONDS = 0.5  # seconds between attempts to hear events of an engine that is away
NEWS = ("start", "die", "destroy")


class Listener:
    """A thread that hears the engine's events, and finds it again when it was away."""

    def __init__(self, address: str, labels: Mapping[str, str], callback: Callable[[Event], None]) -> None:
        self._address = address
        self._filters = {"type": "container", "event": list(NEWS), "label": label_filters(labels)}
        self._callback = callback
        self._ending = threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._listen, name="engine events", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop listening; returns when nothing will be told any more."""
        self._ending.set()
        with suppress(OSError, AttributeError):  # it closed by itself, perhaps this moment
            if self._stream is not None:
                self._stream.close()
        self._thread.join()

    def _listen(self) -> None:
        while not self._ending.is_set():
            with suppress(DockerException, requests.exceptions.RequestException):  # away: it is asked again
                self._hear()
            self._ending.wait(RECONNECT_SECONDS)

    def _hear(self) -> None:
        since = moment(time.time_ns())  # what happens while we connect is told as well
        with docker.APIClient(self._address, version="auto", timeout=ANSWER_TIMEOUT) as client:
            self._stream = client.events(since=since, filters=self._filters, decode=True)  # type: ignore[call-overload]
            self._callback(Event(CONNECTED))
            if self._ending.is_set():
                return
            for entry in self._stream:
                self._callback(event_of(entry))
