"""Runs a command as an ordinary user: `python ordinary.py HOME COMMAND...`, as root.

The repository and the interpreter may lie where only root gets to (/root). In a mount namespace of the command's own, a
folder that bars the way is replaced by one that holds the needed parts of it alone; the machine's stays as it is.
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
    os.umask(0o022)
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
    wanted = {part for path in paths for part in (path.iterdir() if _bars(path) else [path])}
    descriptors = {path: os.open(path, os.O_PATH) for path in wanted}
    for folder in sorted({ancestor for path in wanted for ancestor in path.parents}):
        if _bars(folder):
            libc.mount("tmpfs", str(folder), "tmpfs")
            folder.chmod(0o755)
            for path in (path for path in wanted if path.is_relative_to(folder)):
                _bind(descriptors[path], path)


def _bars(folder: Path) -> bool:
    return folder.stat().st_mode & 0o5 != 0o5


def _bind(descriptor: int, path: Path) -> None:
    source = Path(f"/proc/self/fd/{descriptor}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(exist_ok=True) if source.is_dir() else path.touch()
    libc.mount(str(source), str(path), "none", libc.MS_BIND | libc.MS_REC)


if __name__ == "__main__":
    main(*sys.argv[1:])
