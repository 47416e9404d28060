"""`netlab test connectivity`: `netlab.probe` tests the objects of the API server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from netlab.api.resources import Json
from netlab.errors import ApiError, CannotTestError, LabError
from netlab.files import read_plain
from netlab.lab.converge import follow
from netlab.lab.find import connect
from netlab.lab.privilege import obtain
from netlab.probe.connectivity import LabUnderTest, run_connectivity
from netlab.process.lifetime import run_interruptible
from netlab.process.podfiles import PodFiles
from netlab.state import StateDirectory

LARGEST_RESOLV_CONF = 65536  # bytes; programs in a pod may write there
SETTLE_TIMEOUT: Final = 30.0  # seconds until a change that is made during the test is programmed


def connectivity(state: StateDirectory, *, only: str | None, timeout: float, on_progress: Callable[[int, int], None]) -> Json:
    """Run the connectivity test of a lab and return its record (`netlab.connectivity/v1`).

    Raises CannotTestError if the lab's API server does not answer.
    """
    obtain(state, "test")

    def resolv_conf(uid: str) -> str:
        return (read_plain(PodFiles(state.pod(uid)).etc / "resolv.conf", LARGEST_RESOLV_CONF) or b"").decode(errors="replace")

    try:
        with connect(state) as client:

            def settle() -> None:
                for _ in follow(client, SETTLE_TIMEOUT, look=False):
                    pass

            lab = LabUnderTest(state.lab, client, resolv_conf, settle)
            return run_interruptible(run_connectivity(lab, on_progress, only=only, probe_seconds=timeout))
    except (LabError, ApiError) as error:
        raise CannotTestError(error.message, remedy=error.remedy) from error
