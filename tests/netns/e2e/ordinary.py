"""Runs a command as an ordinary user: `python ordinary.py HOME COMMAND...`, as root.

The repository and the interpreter may lie where only root gets to (/root). In a mount namespace of the command's own, a
folder that bars the way is replaced by one that holds the needed part of it alone; the machine's stays as it is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from netlab.kernel import libc

USER = 65534  # nobody's number, and nogroup's
ROOT = Path(__file__).parents[3]
NEEDED = {ROOT, Path(sys.prefix), Path(sys.base_prefix), Path(os.path.realpath(sys.executable)).parent.parent}


def main(home: str, *command: str) -> None:
    """Open the ways, become the user, execute the command with an environment of a fresh login."""
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", "none", libc.MS_REC | libc.MS_SLAVE)
    open_ways({path.resolve() for path in NEEDED})
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    os.chdir(home)
    runtime = {"XDG_RUNTIME_DIR": folder} if Path(folder := f"{home}/run").is_dir() else {}
    environment = {"HOME": home, "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), **runtime}
    os.execvpe(command[0], command, {**environment, "PYTHONDONTWRITEBYTECODE": "1"})


def open_ways(paths: set[Path]) -> None:
    """Give everybody a way to these folders."""
    descriptors = {path: os.open(path, os.O_PATH) for path in paths}
    for barred in sorted({ancestor for path in paths for ancestor in path.parents if not ancestor.stat().st_mode & 1}):
        if any(path.is_relative_to(barred) for path in paths) and not barred.stat().st_mode & 1:
            libc.mount("tmpfs", str(barred), "tmpfs")
            barred.chmod(0o755)
            for path in (path for path in paths if path.is_relative_to(barred)):
                path.mkdir(parents=True, exist_ok=True)
                libc.mount(f"/proc/self/fd/{descriptors[path]}", str(path), "none", libc.MS_BIND | libc.MS_REC)


if __name__ == "__main__":
    main(*sys.argv[1:])
