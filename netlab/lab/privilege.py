"""The privilege to change a lab's network: root has it; an ordinary user gets a user namespace.

Only the lab's processes keep the user namespace alive. The first `up` creates it and starts
everything in it; a later command joins it through any recorded process that is alive. When the last
process has ended, by `down` or by force, the kernel removes it with all network namespaces in it,
and the next `up` creates another.

A command that has obtained its privilege cannot leave the lab (`netlab.kernel.user_namespace`): it
is root there, its folder of records is still the user's, and of the machine's network it has only
the sockets that it created before. A command that works on several labs does each in a child
(`apart`).
"""

from __future__ import annotations

import os
import shlex
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from netlab.errors import KernelError, LabBusyError, LabError, NetlabError, UnsupportedHostError
from netlab.kernel import user_namespace
from netlab.lab.preflight import SBIN, require_capabilities
from netlab.process.records import COMMAND_PREFIXES, opened, read_records
from netlab.state import STATE_ROOT_VARIABLE, StateDirectory

T = TypeVar("T")
ERRORS: dict[str, type[NetlabError]] = {
    kind.__name__: kind for kind in (LabError, LabBusyError, KernelError, UnsupportedHostError)
}


def obtain(state: StateDirectory, doing: str) -> None:
    """Give this process the privilege to change the lab's network; `doing` is the verb.

    Call it before there are threads. Raises UnsupportedHostError if the machine refuses it.
    """
    if os.geteuid() == 0:
        require_capabilities(doing)
        return
    if not _join(state):
        user_namespace.make()
    os.environ[STATE_ROOT_VARIABLE] = str(state.root.parent)  # of the user we were, not of the root we are
    os.environ["PATH"] = os.pathsep.join(
        (os.environ.get("PATH", os.defpath), SBIN)
    )  # this process is root now, so it needs root's tools


def _join(state: StateDirectory) -> bool:
    """Join the namespaces of the lab's processes; False if none is alive.

    Pods have separate mounts.
    """
    for record in read_records(state):
        if record.name.startswith(COMMAND_PREFIXES):
            continue
        with opened(record) as pidfd:
            if pidfd is not None:
                user_namespace.join(pidfd)
                return True
    return False


class _Outcome(msgspec.Struct):
    """What a child returns: the result, or the error's kind, message and remedy."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    message: str = ""
    remedy: str = ""


def apart(work: Callable[[], T], kind: type[T]) -> T:
    """Run work that obtains privilege without changing this process; `kind` is the result's type.

    As root the work runs here; for an ordinary user it runs in a child.
    """
    if os.geteuid() == 0:
        return work()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writer, msgspec.json.encode(_outcome(work)))
            status = 0
        except Exception:  # noqa: BLE001 -- the last frame of a process: nothing may unwind into the parent's stack
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        answer = answers.read()
    os.waitpid(pid, 0)
    if not answer:
        raise LabError("interrupted", remedy="Run the command again; it resumes where it stopped.")
    outcome = msgspec.json.decode(answer, type=_Outcome)
    if outcome.error:
        raise ERRORS.get(outcome.error, LabError)(outcome.message, remedy=outcome.remedy)
    return msgspec.json.decode(outcome.result, type=kind)


def _outcome(work: Callable[[], T]) -> _Outcome:
    try:
        return _Outcome(result=msgspec.Raw(msgspec.json.encode(work())))
    except NetlabError as error:
        return _Outcome(error=type(error).__name__, message=error.message, remedy=error.remedy)
    except OSError as error:  # the machine refused something that no part of netlab expects to be refused
        return _Outcome(
            error=UnsupportedHostError.__name__, message=f"{error.filename or 'the machine'}: {error.strerror or error}"
        )


def require_state_root(root: Path) -> None:
    """Raise UnsupportedHostError if the folder for the lab's record is missing or not writable."""
    folder = root if root.is_dir() else root.parent
    if os.access(folder, os.W_OK | os.X_OK):
        return
    variable = STATE_ROOT_VARIABLE if STATE_ROOT_VARIABLE in os.environ else "XDG_RUNTIME_DIR"
    why = f"{variable} is {os.environ[variable]}" if variable in os.environ else f"{variable} is not set"
    fault = "is not writable" if folder.exists() else "does not exist"
    login = "Log in as this user instead of using `su` or `sudo -u`, or set a private folder: export XDG_RUNTIME_DIR=$(mktemp -d)"
    other = f"Create it (mkdir -p {shlex.quote(str(folder))}), or set another: export {STATE_ROOT_VARIABLE}=$(mktemp -d)"
    raise UnsupportedHostError(
        f"no folder for the lab's record: {why}, and {folder} {fault}",
        remedy=other if variable == STATE_ROOT_VARIABLE else login,
    )
