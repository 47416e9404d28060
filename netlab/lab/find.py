"""Which labs exist, and which one a command means; the connection to its API server; its lock."""

from __future__ import annotations

import fcntl
import os
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from netlab.controlplane.auth import is_token
from netlab.controlplane.sync import SyncClient
from netlab.errors import DamagedRecordError, LabBusyError, LabError, UsageError
from netlab.process.marks import running_daemon
from netlab.process.records import DAEMON, ProcessRecord, has_ended, inode, is_alive, read_record
from netlab.state import API_SOCKET, StateDirectory, state_root

ANSWER_TIMEOUT = 10.0  # seconds that a command waits for an answer of the API server, which takes milliseconds
AS_IN = "netlab status {lab}, netlab exec --lab {lab} HOST"
LOCKS = Path("/proc/locks")  # proc(5)
NAMED = re.compile(r"\(pid (\d{1,9})\)$", re.ASCII)  # in the text that a holder writes into the lock
ORPHAN_TIMEOUT = 15.0  # seconds until the daemon of a killed command serves or ends


def recorded_labs() -> tuple[str, ...]:
    """Return the names of all labs that left a record, running or not."""
    root = state_root()
    return tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir())) if root.is_dir() else ()


def lab_named(name: str) -> StateDirectory:
    """Return the record of the named lab, or of the only one. Raises UsageError otherwise."""
    labs = recorded_labs()
    if name:
        if name in labs:
            return StateDirectory.of(name)
        known = f"Labs here: {', '.join(labs)}." if labs else "No lab is running. Start one: netlab up FILE."
        raise UsageError(f"there is no lab {name!r}", remedy=known)
    if len(labs) == 1:
        return StateDirectory.of(labs[0])
    if not labs:
        raise UsageError("no lab is running", remedy=how_to_see_one())
    raise UsageError(
        f"several labs are running: {', '.join(labs)}", remedy=f"Name one, for example: {AS_IN.format(lab=labs[0])}."
    )


def how_to_see_one() -> str:
    """Return what to do if no lab is running."""
    return "Start one: netlab up FILE." + ("" if os.geteuid() == 0 else " To see labs that were started with sudo, use sudo.")


def daemon_record(state: StateDirectory) -> ProcessRecord | None:
    """Return the lab's daemon, None if it does not run.

    Without a valid record, its marks identify it.
    """
    record = read_record(state, DAEMON)
    if record is None:
        return running_daemon(state)
    return record if is_alive(record) else None


def daemon_alive(state: StateDirectory) -> bool:
    """Return whether the lab's daemon runs."""
    return daemon_record(state) is not None


def connect(state: StateDirectory) -> SyncClient:
    """Return an administrator's client of the lab's API server.

    Raises LabError without a daemon.
    """
    require_daemon(state)
    endpoint = state.read_endpoint()
    if endpoint is None and state.api.exists():
        raise _unreachable(state, state.api, "does not contain the address of the API server")
    if endpoint is None or not daemon_serves(state):
        remedy = f"Complete it: netlab up FILE. Remove it: netlab down {state.lab}."
        raise LabError(f"lab {state.lab!r} is incomplete: its daemon does not serve yet", remedy=remedy)
    if not is_token(state.admin_token):
        raise _unreachable(state, state.admin_token, "does not contain a token")
    if not state.certificate_authority.exists():
        raise _unreachable(state, state.certificate_authority, "is missing")
    token, door = state.admin_token.read_text(encoding="ascii"), state.socket(API_SOCKET)
    server = f"https://127.0.0.1:{endpoint.loopback}"
    try:
        return SyncClient(
            server, state.certificate_authority, token, timeout=ANSWER_TIMEOUT, door=door if door.exists() else None
        )
    except ssl.SSLError as error:
        raise _unreachable(state, state.certificate_authority, f"does not contain a certificate ({error.strerror})") from error


def _unreachable(state: StateDirectory, path: Path, why: str) -> DamagedRecordError:
    """Return the error for a damaged file that clients need and that a new daemon recreates."""
    return DamagedRecordError(
        f"the record of lab {state.lab!r} is damaged: {path} {why}",
        remedy=f"Recreate it: netlab up FILE. Remove the lab: netlab down {state.lab}.",
    )


def require_daemon(state: StateDirectory) -> None:
    """Raise LabError if the lab's daemon does not run."""
    if not daemon_alive(state):
        raise LabError(
            f"the daemon of lab {state.lab!r} is not running (the data plane may be)",
            remedy=f"Restart it: netlab up FILE. Remove the lab: netlab down {state.lab}.",
        )


def daemon_serves(state: StateDirectory) -> bool:
    """Return whether the lab's daemon runs and serves.

    A killed `up` may leave one that does not.
    """
    record, endpoint = daemon_record(state), state.read_endpoint()
    return record is not None and endpoint is not None and endpoint.pid == record.pid


@contextmanager
def locked(lab: str, doing: str) -> Iterator[int]:
    """Hold the lab's lock for a `with` block. Raises LabBusyError at once if it is taken.

    Yields the lock's descriptor: the lock is held as long as any process has it open.
    """
    root = state_root()
    path = root / f".{lab}.lock"
    descriptor = _acquire(path, lab, f"netlab {doing} (pid {os.getpid()})", wait=ORPHAN_TIMEOUT)
    try:
        yield descriptor
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        remove_if_empty(root)


def _acquire(path: Path, lab: str, holder: str = "", *, wait: float = 0.0) -> int:
    """Return the descriptor of the lab's lock, with `holder` written into the file if given.

    A daemon that a killed command has started keeps the lock until it serves or ends; this function
    waits up to `wait` seconds for that.
    """
    deadline = time.monotonic() + wait
    while True:
        with suppress(FileExistsError):  # exist_ok would fail if the folder disappeared again
            path.parent.mkdir(mode=0o755, parents=True)
        words = ""
        with suppress(FileNotFoundError), _turn(path.parent) as folder:
            taken = _take(path, folder, holder)
            if isinstance(taken, int):
                return taken
            words = taken
        left = deadline - time.monotonic()
        if words and (left <= 0 or not _has_ended(words)):
            raise LabBusyError(f"lab {lab!r} is being changed by {words}", remedy="Wait until that command has finished.")
        if words:
            _await_release(path, left)


def _take(path: Path, folder: int, holder: str) -> int | str:
    """Open and lock the file; return its descriptor, or the holder of the lock.

    The text is empty if the locked file is no longer the one at `path`, because a holder that ends
    removes its file. The last holder removes the folder, too, and may do so between any two steps.
    """
    descriptor = os.open(path.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        words = _holder(descriptor)
        os.close(descriptor)
        return words
    if inode(str(path)) != os.fstat(descriptor).st_ino:
        os.close(descriptor)
        return ""
    if holder:  # `gc --dry-run` changes nothing
        _sign(descriptor, holder)
    return descriptor


def _has_ended(words: str) -> bool:
    """Return True if the command that wrote its name into the lock no longer runs."""
    named = NAMED.search(words)
    if named is None:
        return False
    try:
        descriptor = os.pidfd_open(int(named[1]))
    except ProcessLookupError:
        return True
    try:
        return has_ended(descriptor)
    finally:
        os.close(descriptor)


def _await_release(path: Path, seconds: float) -> None:
    """Wait for a free lock for at most `seconds`: in a thread, as flock(2) has no timeout."""

    def wait() -> None:
        with suppress(FileNotFoundError), path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    waiter.join(seconds)


def _sign(descriptor: int, holder: str) -> None:
    """Write the holder into a lock. On a full disk the lock works without, so that `down` works."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, holder.encode())


def _holder(descriptor: int) -> str:
    """Return the holder of a lock: the name in the file, else the kernel's process number."""
    if words := os.pread(descriptor, 200, 0).decode(errors="replace"):
        return words
    found = os.fstat(descriptor)
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in LOCKS.read_text(encoding="ascii").splitlines():  # 1: FLOCK  ADVISORY  WRITE 4711 00:19:1234 0 EOF
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5] == place:
            return f"process {fields[4]}"
    return "another command"


@contextmanager
def _turn(folder: Path) -> Iterator[int]:
    """Serialize access to the lock, so a caller that finds it taken can also read its holder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def idle_locks(*, remove: bool) -> tuple[str, ...]:
    """Return labs without a record whose lock a killed command left.

    With `remove`, remove the locks.
    """
    root, found = state_root(), []
    for path in sorted(root.glob(".*.lock")):
        lab = path.name.removeprefix(".").removesuffix(".lock")
        if (root / lab).exists():
            continue
        with suppress(LabBusyError):  # a command that has just started
            descriptor = _acquire(path, lab)
            if remove:
                path.unlink()
            os.close(descriptor)
            found.append(lab)
    return tuple(found)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder if it is empty; it may contain the record of another lab."""
    with suppress(OSError):
        folder.rmdir()
