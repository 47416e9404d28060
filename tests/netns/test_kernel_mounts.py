"""Folders that are mounted, with a real kernel."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netlab.kernel import mounts

pytestmark = pytest.mark.netns
NAMES = [f"file{number}" for number in range(8)]
THREADS = 16


@pytest.mark.parametrize("round_", range(8))
def test_a_folder_is_limited_once(tmp_path: Path, round_: int) -> None:
    """However many threads ask at once: one mount, and no file is lost."""
    folder = tmp_path / f"etc{round_}"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(name)
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda _: mounts.limit(folder, 1 << 18), range(THREADS)))
    found = {path.name: path.read_text() for path in folder.iterdir()}
    lines = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == os.fspath(folder)]
    mounts.unmount_below(tmp_path)

    assert found == {name: name for name in NAMES}
    assert len(lines) == 1
