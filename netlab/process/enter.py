"""Enter a host or a pod, as `kubectl exec` enters a container: network, files, name.

A process that enters gets
  - the network namespace of the host or pod;
  - a new mount namespace, in which the pod's resolv.conf, hosts and hostname cover /etc's
    (semantics 1.10) and /sys shows the network devices of the entered namespace. Mounts propagate
    from the machine, but not back (MS_SLAVE);
  - a new UTS namespace with the pod's hostname.
Nothing else is separate: users, processes and the rest of the file system are the machine's.

Only a single-threaded process may enter: do it after fork, before exec. Errors that a user can
correct (a missing namespace, a missing command) are reported with a shell's exit codes: 127, 126,
128 + n.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import msgspec

from netlab.containment import Contained, describe
from netlab.errors import KernelError
from netlab.files import read_plain
from netlab.kernel import libc, mounts, namespaces
from netlab.kernel.libc import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, MS_BIND, MS_REC, MS_SLAVE
from netlab.process.podfiles import INJECTED, LONGEST_HOSTNAME, Environment, PodFiles

NOT_FOUND, NOT_EXECUTABLE, SIGNALLED = 127, 126, 128  # a shell's exit codes
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)  # a terminal sends them to the command, too


def enter(descriptor: int, files: PodFiles | None) -> None:
    """Enter the network namespace of `descriptor`; with `files`, private mounts and hostname."""
    libc.setns(descriptor, CLONE_NEWNET)
    libc.unshare(CLONE_NEWNS | (CLONE_NEWUTS if files else 0))
    libc.mount("none", "/", "none", MS_REC | MS_SLAVE)
    _show_devices()
    if files is None:
        return
    sources = {f"/etc/{name}": str(files.etc / name) for name in INJECTED}
    _lay_over(sources)
    if hostname := hostname_in(read_plain(files.etc / "hostname", LONGEST_HOSTNAME + 1) or b""):
        socket.sethostname(os.fsdecode(hostname))


def hostname_in(content: bytes) -> bytes:
    """Return the name in a hostname file, b"" if invalid: programs there may write anything."""
    name = content.partition(b"\n")[0].strip()
    return name if len(name) <= LONGEST_HOSTNAME and b"\0" not in name else b""


def _show_devices() -> None:
    """Mount a new /sys, as `ip netns exec` does: /sys/class/net shows the entered namespace.

    It covers the machine's /sys, which an ordinary user may not unmount.
    """
    if not os.path.ismount("/sys"):
        return
    try:
        libc.mount("sysfs", "/sys", "sysfs")
    except PermissionError:  # a container hides parts of /sys, so the kernel refuses a new one: none is better than the machine's
        libc.mount("tmpfs", "/sys", "tmpfs")
    except OSError as error:
        if error.errno != errno.EBUSY:  # /sys shows this namespace already: `exec` inside of `exec`
            raise


def _lay_over(sources: Mapping[str, str]) -> None:
    """Bind-mount each source over its target; follow a symbolic link of the target."""
    if not all(Path(target).exists() for target in sources):  # a dangling link does not exist
        mounts.rebuild("/etc", leave_out={Path(target).name for target in sources})
        for target in sources:
            Path(target).touch()
    for target, source in sources.items():
        libc.mount(source, os.path.realpath(target), "none", MS_BIND)


def stored_environment(files: PodFiles, container: str) -> Environment:
    """Return the environment that a container was started with; empty without a readable record."""
    try:
        return msgspec.json.decode(files.environment(container).read_bytes(), type=Environment)
    except (OSError, msgspec.DecodeError, RecursionError):
        return Environment()


def execute(namespace_path: str, argv: Sequence[str], env: Mapping[str, str], files: PodFiles | None = None) -> int:
    """Run a command inside a host or pod with this terminal, and return its exit code.

    127: no such command; 126: it cannot be executed; 128 + n: signal n ended it. Raises KernelError
    if the namespace does not exist or the kernel refuses to enter it.
    """
    descriptor = namespaces.open_namespace(namespace_path)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _become(descriptor, argv, env, files, failures=writing)
    os.close(writing)
    os.close(descriptor)
    with _forwarding(pid), os.fdopen(reading, "rb") as failures:
        failure = failures.read()
        status = os.waitpid(pid, 0)[1]
    if failure:
        number, _, words = failure.decode(errors="replace").partition(" ")
        raise KernelError(
            f"Could not enter {namespace_path}: {words}.", errno=int(number), remedy="Run netlab as root (`netlab doctor`)."
        )
    return exit_code(status)


def exit_code(status: int) -> int:
    """Return a shell's exit code for a wait status: the code itself, or 128 + signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else SIGNALLED - code


def _become(descriptor: int, argv: Sequence[str], env: Mapping[str, str], files: PodFiles | None, failures: int) -> None:
    """Enter and execute in a forked child; never returns."""
    with Contained() as attempt:  # no exception may unwind into the stack of the forked process
        enter(descriptor, files)
    if attempt.error is not None:
        number = attempt.error.errno if isinstance(attempt.error, OSError) else None
        words = getattr(attempt.error, "strerror", None) or describe(attempt.error)
        os.write(failures, f"{number or errno.EIO} {words}".encode(errors="backslashreplace"))
        os._exit(1)
    replace_process(argv, env)


def replace_process(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Replace this process by a command; on failure exit with a shell's exit code."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it; commands expect its default, which ends them
    environment = {"PATH": DEFAULT_PATH, **env}
    try:
        os.execvpe(argv[0], list(argv), environment)  # noqa: S606 -- the command is the user's own, no shell
    except FileNotFoundError:
        _refuse(NOT_FOUND, f'"{argv[0]}": executable file not found in $PATH')
    except NotADirectoryError:
        _refuse(NOT_FOUND, f'"{argv[0]}": not a directory')
    except (OSError, ValueError) as error:
        _refuse(NOT_EXECUTABLE, f'"{argv[0]}": {getattr(error, "strerror", None) or error}')


def _refuse(code: int, words: str) -> None:
    os.write(2, f"netlab: exec: {words}\n".encode(errors="surrogateescape"))
    os._exit(code)


@contextmanager
def _forwarding(pid: int) -> Iterator[None]:
    """Forward signals to the child while it runs, except those that a terminal sends to both."""

    def forward(number: int, _frame: FrameType | None) -> None:
        if number not in FROM_TERMINAL or not os.isatty(0):
            os.kill(pid, number)  # the pid is valid: no code has waited for the child

    previous = {number: signal.signal(number, forward) for number in (*FORWARDED, *FROM_TERMINAL)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
