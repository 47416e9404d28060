"""Every error that reaches a user, split by who must act.

Rules:
1. A message is a sentence: what was tried, what happened, what to do next.
2. The class states who must act, and so which exit code `netlab.cli` returns.
   No code outside `netlab.cli` chooses an exit code.
3. Foreign exceptions are translated where they happen and chained with `from`.
"""

from __future__ import annotations


class NetlabError(Exception):
    """The root. Raise one of the kinds below, with a remedy where there is one."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class UsageError(NetlabError):
    """The command line names something that does not exist or is invalid."""


class InvalidTopologyError(NetlabError):
    """The user's file is wrong; `problems` lists every fault found, in file order.

    The message fits on one screen: the first faults, and how many more there are.
    """

    SHOWN = 20

    def __init__(self, problems: tuple[str, ...]) -> None:
        lines = list(problems[: self.SHOWN])
        hidden = problems[self.SHOWN :]
        if len(hidden) == 1:
            lines.append(hidden[0])
        elif hidden:
            place = hidden[0].partition(": ")[0]
            lines.append(f"{place}: ... and {len(hidden)} more problems from here on")
        super().__init__("\n".join(lines))
        self.problems = problems


class UnsupportedHostError(NetlabError):
    """The machine cannot run this: no privilege, a missing tool, a kernel without a feature."""


class InvalidValueError(NetlabError):
    """An object of the API holds a value that its field cannot have; the object is left out."""


class KernelError(NetlabError):
    """The kernel refused an operation. `errno` is its number, 0 when it gave none."""

    def __init__(self, message: str, *, errno: int = 0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.errno = errno


class LabError(NetlabError):
    """A lab did not do what was requested: a process died, a deadline passed, a lock is held."""


class LabBusyError(LabError):
    """Another command changes the lab at this moment."""


class DamagedRecordError(LabError):
    """A file of a lab's record cannot be read."""


class ForeignNamespaceError(LabError):
    """Something that the lab did not create has the name of one of its network namespaces."""


class EngineError(LabError):
    """The container engine refused. `code` is its HTTP code: 404 not found, 409 conflict."""

    def __init__(self, message: str, *, code: int = 0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class UnreadableError(NetlabError):
    """An object does not match its kind: a field has a value that the kind does not define."""


class CannotTestError(NetlabError):
    """The lab could not be tested, for example because its daemon is dead; it has no verdict."""


class ApiError(NetlabError):
    """The API server answered with a Status of failure (Kubernetes API conventions).

    `code` is the HTTP code, `reason` Kubernetes' word for it (NotFound, Conflict, Invalid, ...).
    `details` names the object (name, group, kind, uid), `causes` the fields at fault.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        causes: tuple[dict[str, str], ...] = (),
        details: dict[str, str] | None = None,
        remedy: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.code = code
        self.reason = reason
        self.causes = causes
        self.details = details or {}


def is_not_found(error: BaseException) -> bool:
    """Return whether the requested object does not exist."""
    return (isinstance(error, ApiError) and error.reason == "NotFound") or (isinstance(error, EngineError) and error.code == 404)


def is_already_exists(error: BaseException) -> bool:
    """Return whether the object to create exists already."""
    return isinstance(error, ApiError) and error.reason == "AlreadyExists"


def is_conflict(error: BaseException) -> bool:
    """Return whether another client changed the object first."""
    return isinstance(error, ApiError) and error.reason == "Conflict"


def is_gone(error: BaseException) -> bool:
    """Return whether the requested resourceVersion is too old: list again."""
    return isinstance(error, ApiError) and error.code == 410


def printable(text: str) -> str:
    """Return text of an object as a message can show it: unprintable characters escaped, a long text cut."""
    return repr(text[:100])[1:-1]
