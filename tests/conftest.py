"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

import pytest


@pytest.fixture(scope="session")
def cannot_run() -> Callable[[str], NoReturn]:
    """Return what to call with the reason when a test cannot run here.

    Continuous integration proves everything: there a test that cannot run is a failure; on a desk it is left out.
    """
    return pytest.fail if os.environ.get("CI", "").lower() in {"true", "1"} else pytest.skip
