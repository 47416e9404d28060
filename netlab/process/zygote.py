"""The spawner's own process: one thread, with everything imported, that forks the lab's processes.

Theory. Forking a process that has threads or an event loop is unsafe, starting an interpreter costs 300 ms and 40 MB.
So the daemon forks this process before it has either; it imports nothing more, waits on one socket and forks: a
child starts in about a millisecond and shares its memory.

Rules:
1. A child waits on a pipe until its record is on disk (`netlab.process.records`); if the spawner dies first, the
   pipe closes and the child ends unborn. Hence every process that has run is recorded.
2. A record is removed when the child has been reaped; then the spawner notifies the daemon.
3. When the daemon's end of the socket closes, the spawner exits and its children keep running: the
   next daemon finds them by their records.
4. A command of a pod writes to a pipe that the lab's log keeper reads (`log_keeper`); every other process writes to its
   log file.

Both sides speak JSON lines: requests {"id", "name", ...}, answers {"id", "pid"} or {"id", "error"}, news
{"exit": name, "pid", "status"}.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

import setproctitle

from netlab.errors import KernelError
from netlab.kernel import libc, mounts, namespaces, privileges
from netlab.process import enter, log_keeper, logs
from netlab.process.identity import start_time
from netlab.process.log_pipes import LogPipes
from netlab.process.podfiles import ETC_SIZE, PodFiles
from netlab.process.records import ProcessRecord, strike_off, write_record
from netlab.state import StateDirectory

Entry = Callable[[dict[str, str]], None]
Message = dict[str, Any]

STANDARD_STREAMS = (0, 1, 2)


def run(channel: socket.socket, entries: Mapping[str, Entry], state: StateDirectory) -> NoReturn:
    """Run the spawner; the forked process does nothing else."""
    status = 1
    try:
        _shed(keep={channel.fileno()})
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is for the daemon; the spawner exits with it
        setproctitle.setproctitle(f"netlab: {state.lab} spawner")
        gc.freeze()  # present objects are never collected, so their memory stays shared
        _Zygote(channel, entries, state).serve()
        status = 0
    except BaseException:  # noqa: BLE001 -- the last frame of a process: nothing may unwind into the daemon's stack
        traceback.print_exc()
    os._exit(status)


class _Zygote:
    def __init__(self, channel: socket.socket, entries: Mapping[str, Entry], state: StateDirectory) -> None:
        self._channel = channel
        self._entries = entries
        self._state = state
        self._children: dict[int, str] = {}
        self._received = b""
        self._pipes = LogPipes(state, self._start_log_keeper)
        # SIGCHLD writes into a pipe, so that one poll waits for the socket and for children.
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        self._pipes.resume()
        wait: float | None = None  # seconds until a log keeper that has ended is restarted
        while True:
            poll = select.poll()
            for source in filter(None, (self._channel, self._pipes.channel)):
                poll.register(source, select.POLLIN)
            poll.register(self._woken, select.POLLIN)
            keeper = self._pipes.channel.fileno() if self._pipes.channel else None
            ready = dict(poll.poll(None if wait is None else wait * 1000))
            if self._woken in ready:
                os.read(self._woken, 4096)
            self._reap()
            if keeper in ready or wait is not None:
                wait = self._pipes.restore(ended=keeper in ready)
            if self._channel.fileno() in ready and not self._receive():
                return

    def _receive(self) -> bool:
        try:
            chunk = self._channel.recv(65536)
        except ConnectionError:
            return False
        *lines, self._received = (self._received + chunk).split(b"\n")
        for line in lines:
            self._tell(self._start(json.loads(line)))
        return bool(chunk)

    def _tell(self, message: Message) -> None:
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except ConnectionError:
            return  # the daemon has exited; `serve` detects it, too

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if name := self._children.pop(pid, ""):
                strike_off(self._state, name)
                self._tell({"exit": name, "pid": pid, "status": status})

    def _start(self, request: Message) -> Message:
        """Start the requested process; return the answer."""
        name, container = request["name"], request["kind"] == "container"
        log = Path(request["log"])

        def work() -> None:
            if container:
                _run_command(request)
            else:
                _run_entry(request, self._entries[request["entry"]], self._state.lab)

        try:
            if container and request["files"]:
                mounts.limit(PodFiles(Path(request["files"])).etc, ETC_SIZE)
            output = self._pipes.open(log) if container and request["kept"] else _opened_log(log)
            return {"id": request["id"], "pid": self._fork(name, output, work)}
        except OSError as error:
            return {"id": request["id"], "error": f"{error.filename or 'fork'}: {error.strerror}"}

    def _start_log_keeper(self, listener: socket.socket) -> None:
        """Start the log keeper, which listens on a socket that the spawner has created for it."""

        def work() -> None:
            setproctitle.setproctitle(f"netlab: {self._state.lab} {log_keeper.NAME}")
            logs.configure()
            privileges.limit(())  # it opens only the lab's own files
            log_keeper.keep_logs(listener, self._state)

        output = _opened_log(self._state.log(log_keeper.NAME))
        self._fork(log_keeper.NAME, output, work, keep={listener.fileno()})

    def _fork(self, name: str, output: int, work: Callable[[], None], keep: Collection[int] = ()) -> int:
        """Fork a recorded child that does `work`, with `output` as its standard streams; returns its pid. Closes `output`."""
        waiting, release = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(release)
                _be_child(waiting, name, output, work, keep)
            self._children[pid] = name
            write_record(self._state, ProcessRecord(name, pid, start_time(pid) or 0))
            os.write(release, b"1")
        finally:
            for descriptor in (waiting, release, output):
                os.close(descriptor)
        return pid


def _opened_log(log: Path) -> int:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR if log.is_fifo() else os.O_WRONLY | os.O_APPEND | os.O_CREAT  # see `log_keeper` for why a pipe is opened so
    return os.open(log, flags | os.O_CLOEXEC, 0o600)


def _be_child(waiting: int, name: str, output: int, work: Callable[[], None], keep: Collection[int]) -> NoReturn:
    status = 1
    try:
        if os.read(waiting, 1) == b"1":
            _prepare(output, keep)
            work()
            status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except (OSError, KernelError) as error:
        sys.stderr.write(f"netlab: starting {name}: {error}\n")
    except BaseException:  # noqa: BLE001 -- the last frame of a process: nothing may unwind into the spawner's stack
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _prepare(output: int, keep: Collection[int]) -> None:
    """Prepare a child: new session, only standard streams and `keep`, default signals, its log."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for stream in (1, 2):
        os.dup2(output, stream)
    _shed(keep=set(keep))
    # The daemon's replacements of the streams (a test's capture, a partly full buffer) are not the child's.
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1, errors="backslashreplace", closefd=False) for stream in (1, 2))


def _run_entry(request: Message, entry: Entry, lab: str) -> None:
    if request["namespace"]:
        descriptor = namespaces.open_namespace(request["namespace"])
        libc.setns(descriptor, libc.CLONE_NEWNET)
        os.close(descriptor)
    setproctitle.setproctitle(f"netlab: {lab} {request['title'] or request['name']}")
    logs.configure()
    privileges.limit(request["capabilities"])
    entry(request["arguments"])


def _run_command(request: Message) -> None:
    """Execute a pod's command with its namespaces, its folder and its environment."""
    descriptor = namespaces.open_namespace(request["namespace"])
    enter.enter(descriptor, PodFiles(Path(request["files"])) if request["files"] else None)
    os.close(descriptor)
    os.chdir(request["working_directory"] or "/")
    privileges.limit(request["capabilities"])
    enter.replace_process(request["argv"], request["environment"])


def _shed(keep: set[int]) -> None:
    """Release every file but the standard streams and `keep`; standard input is empty.

    A descriptor is redirected to /dev/null, not closed: a Python object may still own its number,
    and would later close a file that was opened under the same number.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    for entry in tuple(Path("/proc/self/fd").iterdir()):
        descriptor = int(entry.name)
        if descriptor not in {*keep, *STANDARD_STREAMS, null} and os.path.lexists(entry):
            os.dup2(null, descriptor, inheritable=False)
