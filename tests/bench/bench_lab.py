"""Measures a whole lab through the command line: medians of several runs, beside the goals.

    sudo .venv/bin/python tests/bench/bench_lab.py [--runtime docker] [RUNS] [TOPOLOGY]

Nothing else should run meanwhile. Memory is the sum of PSS over the lab's processes: what they share is counted once.
With runtime docker each run also measures the floor: the engine starting as many bare containers, all at the same time.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import subprocess
import sys
import time
from pathlib import Path

from netlab.engine.client import DockerEngine
from netlab.engine.protocol import LAB_LABEL, ContainerSpec, Engine
from netlab.images.images import ensure

ROOT = Path(__file__).parents[2]
NETLAB = [sys.executable, "-m", "netlab"]
NAME = "benchlab"
RECORD = Path("/run/k8s-netlab") / NAME / "processes"
LABEL = "netlab/bench"  # on the containers of the floor
FLOOR, IN_FLOORS = "floor: as many bare containers", "up, in floors"
GOALS = {  # by runtime: seconds, MiB, floors
    "netns": {
        "netlab --help": 0.2,
        "up": 1.5,
        "memory": 150,
        "up again, nothing changed": 0.4,
        "test connectivity": 3.0,
        "memory after the test": 150,
        "down": 0.5,
    },
    "docker": {"netlab --help": 0.2, IN_FLOORS: 1.5},
}


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


def memory(engine: Engine | None) -> float:
    """Return the lab's memory in MiB: PSS over all its processes."""
    roots = {json.loads(path.read_text())["pid"] for path in RECORD.iterdir()}
    if engine:
        roots |= {container.pid for container in engine.containers({LAB_LABEL: NAME})}
    kibibytes = 0
    for pid in descendants(roots):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kibibytes += int(line.split()[1])
    return kibibytes / 1024


def floor(engine: Engine, image: str, count: int) -> float:
    """Return how many seconds the engine takes to start `count` containers that do nothing, as `docker run --network none`."""
    name = secrets.token_hex(4)
    specs = [
        ContainerSpec(
            name=f"{name}-{i}", image=image, labels={LABEL: name}, entrypoint=("sleep",), command=("infinity",), network="none"
        )
        for i in range(count)
    ]
    started = time.perf_counter()
    engine.start(specs)
    seconds = time.perf_counter() - started
    engine.remove([container.id for container in engine.containers({LABEL: name})])
    return seconds


def one_run(topology: str, engine: Engine | None) -> dict[str, float]:
    """Bring the lab up, use it, take it down; return what was measured."""
    up = ("up", "--runtime", "docker" if engine else "netns", "--name", NAME, topology)
    found = {"netlab --help": timed("--help"), "up": timed(*up)}
    containers = engine.containers({LAB_LABEL: NAME}) if engine else []
    found["memory"] = memory(engine)
    found["up again, nothing changed"] = timed(*up)
    found["test connectivity"] = timed("test", "connectivity", NAME)
    found["memory after the test"] = memory(engine)
    found["down"] = timed("down", NAME)
    if engine:
        found[FLOOR] = floor(engine, containers[0].image, len(containers))
        found[IN_FLOORS] = found["up"] / found[FLOOR]
    return found


def row(what: str, values: list[float], goal: float | None) -> str:
    """Return one line of the table."""
    unit = "MiB" if what.startswith("memory") else "" if what == IN_FLOORS else "s"
    digits = 0 if unit == "MiB" else 2
    span = f"({min(values):.{digits}f} - {max(values):.{digits}f})"
    return f"  {what:32} {statistics.median(values):8.{digits}f} {unit:4} {span:18} " + (f"<= {goal} {unit}" if goal else "")


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="?", type=int, default=5)
    parser.add_argument("topology", nargs="?", default="topologies/quickstart.yaml")
    parser.add_argument("--runtime", choices=("netns", "docker"), default="netns")
    given = parser.parse_args()
    engine = DockerEngine() if given.runtime == "docker" else None
    if engine:
        ensure(engine, print)
    results = [one_run(given.topology, engine) for _ in range(given.runs)]
    print(f"{given.topology}, {given.runtime}, {given.runs} runs: median (lowest - highest), goal")
    for what in results[0]:
        print(row(what, [result[what] for result in results], GOALS[given.runtime].get(what)))


if __name__ == "__main__":
    main()
