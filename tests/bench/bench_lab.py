"""Measures a whole lab through the command line: medians of several runs, beside the goals (docs/performance.md).

    sudo .venv/bin/python tests/bench/bench_lab.py [RUNS] [TOPOLOGY]

Nothing else should run meanwhile. Memory is the sum of PSS over the lab's processes: what they share is counted once.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
NETLAB = [sys.executable, "-m", "netlab"]
NAME = "benchlab"
RECORD = Path("/run/k8s-netlab") / NAME / "processes"
GOALS = {
    "netlab --help": 0.2,
    "up": 1.5,
    "up again, nothing changed": 0.4,
    "test connectivity": 3.0,
    "down": 0.5,
}  # seconds
MEMORY_GOAL = 150  # MiB


def timed(*arguments: str) -> float:
    """Run netlab and return how many seconds it took, the interpreter's start included."""
    started = time.perf_counter()
    subprocess.run([*NETLAB, *arguments], check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - started


def descendants(pids: set[int]) -> set[int]:
    """Return the processes and their children, all the way down."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended meanwhile
                continue
    found = set(pids)
    while new := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= new
    return found


def memory() -> float:
    """Return the lab's memory in MiB: PSS over all its processes."""
    recorded = {json.loads(path.read_text())["pid"] for path in RECORD.iterdir()}
    kibibytes = 0
    for pid in descendants(recorded):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kibibytes += int(line.split()[1])
    return kibibytes / 1024


def one_run(topology: str) -> dict[str, float]:
    """Bring the lab up, use it, take it down; return what was measured."""
    found = {"netlab --help": timed("--help"), "up": timed("up", "--name", NAME, topology)}
    found["memory"] = memory()
    found["up again, nothing changed"] = timed("up", "--name", NAME, topology)
    found["test connectivity"] = timed("test", "connectivity", NAME)
    found["memory after the test"] = memory()
    found["down"] = timed("down", NAME)
    return found


def main() -> None:
    """Print a table of medians."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    topology = sys.argv[2] if len(sys.argv) > 2 else "topologies/quickstart.yaml"
    results = [one_run(topology) for _ in range(runs)]
    print(f"{topology}, {runs} runs: median (lowest - highest), goal")
    for what in results[0]:
        values = [result[what] for result in results]
        unit, goal = ("MiB", MEMORY_GOAL) if what.startswith("memory") else ("s", GOALS[what])
        digits = 0 if unit == "MiB" else 2
        span = f"({min(values):.{digits}f} - {max(values):.{digits}f})"
        print(f"  {what:28} {statistics.median(values):8.{digits}f} {unit:4} {span:18} <= {goal} {unit}")


if __name__ == "__main__":
    main()
