"""The answer to a request when the server itself fails: 500 as a Status, one traceback in the log.

An unexpected exception in one request must not end a controller, the kubelet or the connection of
a client. `as_status` turns it into an ApiError, so that callers inside the daemon and clients
outside receive the same answer. Errors that are answers already, and those of a connection that is
gone, pass unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from netlab.containment import Contained
from netlab.controlplane.status import internal_error
from netlab.errors import NetlabError

log = logging.getLogger("netlab.controlplane")
P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def as_status(verb: str, *answers: type[Exception]) -> Iterator[None]:
    """Run a part of a request: an unexpected exception becomes ApiError 500, `answers` pass."""
    with Contained() as attempt:
        yield
    error = attempt.error
    if error is None:
        return
    if isinstance(error, (NetlabError, ConnectionError, *answers)):
        raise error
    log.error("request=failed verb=%s error=%r", verb, str(error)[:300], exc_info=error)
    raise internal_error(error) from error


def answered(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a verb of the API: its unexpected exceptions become ApiError 500."""

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with as_status(method.__name__):
            return method(*args, **kwargs)
        raise AssertionError  # as_status has raised; no `with` that swallows exceptions ends here

    return run
