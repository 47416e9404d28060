"""Signals and odd inputs: one line and an exit code, at whatever moment and from wherever (finding M1)."""

from __future__ import annotations

import gc
import os
import pty
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
QUICKSTART = ROOT / "topologies" / "quickstart.yaml"
NETLAB = (sys.executable, "-m", "netlab")
LAB = "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: demo}\nspec: {nodes: 1, manifests: ['%s']}\n"
# Runs the command line with a SIGINT at the moment that an event of Python's audit hook names the nth time: a moment is a place
# in the program, not a time that a busy machine moves. The first import of netlab.cli.entry is where netlab's own code begins.
SIGNALLED = """
import _signal, os, signal, sys
kind, count = sys.argv.pop(1), int(sys.argv.pop(1))
import netlab.cli.entry
seen = 0
def hook(event, _arguments):
    global seen
    if event == kind:
        seen += 1
        if seen == count:
            os.kill(os.getpid(), signal.SIGINT)
sys.argv[0] = "netlab"
install = _signal.signal
def signal_and_hook(number, handler):
    before = install(number, handler)
    if number == signal.SIGHUP and handler is netlab.cli.entry.end_at_once:
        sys.addaudithook(hook)
    return before
_signal.signal = signal_and_hook
netlab.cli.entry.main()
"""


def run(*words, **options):
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True, "timeout": 60}
    return subprocess.run([str(word) for word in words], check=False, **{"cwd": ROOT, **settings, **options})


MOMENTS = [("import", number) for number in (1, 2, 5, 30, 90, 180, 270)] + [("open", number) for number in (1, 40, 100, 150)]


@pytest.mark.parametrize(("event", "count"), MOMENTS)
def test_interrupt_while_loading_is_one_line(event, count):
    """Before the first verb is known, in the middle of the imports and in the verb: 130 and one word, never a traceback."""
    done = run(sys.executable, "-c", SIGNALLED, event, count, "validate", QUICKSTART)

    assert (130, "interrupted\n") == (done.returncode, done.stderr)


def test_no_command_is_interrupted_after_its_work(tmp_path):
    """A signal behind the last line changes neither output nor exit code."""
    code = (
        "import os, signal, typer; from netlab.cli import run; app = typer.Typer(); app.command()(lambda: None);"
        "code = run.guarded(app); os.kill(os.getpid(), signal.SIGINT); raise SystemExit(code)"
    )
    done = run(sys.executable, "-c", code, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})

    assert (0, "") == (done.returncode, done.stderr)


class Dropped:
    pass


def interrupt_in_a_finalizer():
    """Send a signal where Python drops what a handler raises; then wait as a verb would."""
    kept = Dropped()
    weakref.finalize(kept, signal.raise_signal, signal.SIGINT)
    del kept
    gc.collect()
    signal.pause()


def test_interrupt_in_a_finalizer_is_not_lost():
    """Python would print "Exception ignored in" and go on; it arrives all the same."""
    code = (
        "import sys, typer; sys.path.insert(0, 'tests/unit/cli'); from netlab.cli import run;"
        "from test_cli_interrupts import interrupt_in_a_finalizer; app = typer.Typer();"
        "app.command()(interrupt_in_a_finalizer); sys.argv = ['netlab']; raise SystemExit(run.guarded(app))"
    )
    done = run(sys.executable, "-c", code)

    assert (130, "interrupted\n") == (done.returncode, done.stderr)


def test_interrupt_cancels_asyncio_work():
    """The work's own clean-up runs, no task is destroyed while it waits, then the signal has its usual effect."""
    code = """
import asyncio, os, signal, sys
from netlab.process.lifetime import run_interruptible
def told(number, frame):
    print("handler", flush=True)
    raise SystemExit(130)
signal.signal(signal.SIGINT, told)
async def child():
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned", flush=True)
async def work():
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
    await asyncio.gather(*(asyncio.ensure_future(child()) for _ in range(3)))
run_interruptible(work())
"""
    done = run(sys.executable, "-c", code)

    assert (130, "cleaned\ncleaned\ncleaned\nhandler\n", "") == (done.returncode, done.stdout, done.stderr)


INPUTS = [
    pytest.param("/dev/zero", "it is a device, not a file", id="no end"),
    pytest.param("/dev/urandom", "it is a device, not a file", id="random"),
    pytest.param("/dev/full", "it is a device, not a file", id="full"),
    pytest.param("/dev/null", "the file contains no document", id="nothing"),
    pytest.param("/proc/self/mem", "Input/output error", id="memory"),
    pytest.param("/tmp", "Is a directory", id="folder"),
]


@pytest.mark.parametrize(("path", "words"), INPUTS)
def test_odd_files_are_refused_in_one_line(path, words, tmp_path):
    """As the topology, and as one of its manifests."""
    topology = tmp_path / "topology.yaml"
    topology.write_text(LAB % path)
    alone, named = run(*NETLAB, "validate", path), run(*NETLAB, "validate", topology)

    assert (2, True, False) == (alone.returncode, words in alone.stderr, "Traceback" in alone.stderr)
    assert "Traceback" not in named.stderr


def test_a_file_that_waits_for_events_is_refused(cannot_run):
    """/proc/kmsg looks like a file and never ends."""
    if not os.access("/proc/kmsg", os.R_OK):
        cannot_run("only root may read the kernel's log")
    done = run(*NETLAB, "validate", "/proc/kmsg")

    assert (2, "error: cannot read /proc/kmsg: it has no end (reads wait for events)\n") == (done.returncode, done.stderr)


def test_closed_standard_input_is_named():
    """`netlab validate - <&-`."""
    done = run("/bin/sh", "-c", 'exec "$@" <&-', "sh", *NETLAB, "validate", "-")

    assert (2, "error: cannot read standard input: it is closed") == (done.returncode, done.stderr.splitlines()[0])


@pytest.mark.parametrize("word", ["/dev/stdin", "-"])
def test_a_topology_may_be_typed_at_a_terminal(word):
    """What is typed is read to the ^D that ends it."""
    ours, theirs = pty.openpty()
    command = subprocess.Popen(
        [*NETLAB, "validate", word], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    os.close(theirs)
    os.write(ours, (LAB % "x").replace(", manifests: ['x']", "").encode() + b"\x04")
    said = command.communicate(timeout=60)[0]
    os.close(ours)

    assert (0, "Lab demo: 1 node: valid\n") == (command.returncode, said)
