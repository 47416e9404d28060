"""What all tests share."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import fuzzing
import pytest
from hypothesis import HealthCheck, settings
from labdriver import TOPOLOGIES, HostPicture, LabDriver, run

from netlab.kernel import mounts

# The same examples in every run, on every machine, as in continuous integration: no clock and no earlier run has a say in them.
# (The memory of earlier runs that root leaves in the tree is none that an ordinary user could read.)
settings.register_profile(
    "netlab", derandomize=True, database=None, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("netlab")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Add the seed to the report of a search that failed."""
    report = yield
    if report.failed and item.get_closest_marker("fuzz"):
        report.sections.append(("repeat this search with", fuzzing.how_to_repeat()))
    return report


@pytest.fixture(scope="session")
def cannot_run() -> Callable[[str], NoReturn]:
    """Return what to call with the reason when a test cannot run here.

    Continuous integration proves everything: there a test that cannot run is a failure; on a desk it is left out.
    """
    return pytest.fail if os.environ.get("CI", "").lower() in {"true", "1"} else pytest.skip


@pytest.fixture(scope="session", autouse=True)
def ended_sessions(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Unmount what killed sessions left in their folders: pytest removes the folder of the fourth session before this one.

    It warns of what it cannot remove, and here a warning is a failure.
    """
    base = tmp_path_factory.getbasetemp()
    if os.geteuid() == 0 and base.parent.name.startswith("pytest-of-"):
        for folder in base.parent.iterdir():
            if folder != base and folder.is_dir() and not folder.is_symlink() and not _in_use(folder):
                mounts.unmount_below(folder)


def _in_use(folder: Path) -> bool:
    """Whether the session that wrote the lock of its folder still runs; `garbage-...` is what pytest already removes."""
    try:
        return folder.name.startswith("pytest-") and Path("/proc", (folder / ".lock").read_text()).exists()
    except OSError:
        return False


@pytest.fixture(autouse=True)
def nothing_left_mounted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail when something is mounted in the test's own folder at its end: nobody could remove it."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None:
        assert mounts.below(folder) == []


@pytest.fixture
def unread():
    """The end of a pipe to write to, of which nobody has the other."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


# ---- whole labs
@pytest.fixture
def host():
    """Fail when the test leaves the host another than it was."""
    before = HostPicture.take()
    yield before
    after = HostPicture.take()
    assert before == after


@pytest.fixture
def make_lab(host):  # noqa: ARG001 -- the host is looked at before and after
    """Return a function that names labs; all are taken down at the end."""
    labs = []

    def make(name):
        labs.append(LabDriver(name))
        return labs[-1]

    yield make
    for lab in labs:
        if lab.state.exists():
            run("down", lab.name, check=None)


@pytest.fixture
def lab(make_lab):
    """One lab, named for the process so that two runs do not meet."""
    return make_lab(f"t{os.getpid()}")


@pytest.fixture
def editable(tmp_path):
    """Return a function that copies a topology so that a test can edit it."""

    def copy(name):
        return Path(shutil.copy(TOPOLOGIES / name, tmp_path / name))

    return copy


@pytest.fixture
def many_files() -> Iterator[None]:
    """The test's own descriptors are not what runs out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
