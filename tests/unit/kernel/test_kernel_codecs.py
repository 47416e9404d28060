"""pyroute2's messages without the rest of pyroute2, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ORDERS = [
    pytest.param("import netlab.kernel.linux", "False False", id="netlab alone: nothing but codecs"),
    pytest.param("import netlab.kernel.linux, pyroute2", "True True", id="netlab first: all of pyroute2 is there for others"),
    pytest.param("import pyroute2, netlab.kernel.linux", "True True", id="pyroute2 first: it is left alone"),
]


def output(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


@pytest.mark.parametrize(("imports", "whole"), ORDERS)
def test_pyroute2_is_whole_or_absent(imports: str, whole: str):
    """Importing netlab's kernel does not import pyroute2, and never leaves half of it to others."""
    code = f"{imports}, sys; print(hasattr(sys.modules.get('pyroute2'), 'IPRoute'), 'pyroute2.ndb' in sys.modules)"

    assert whole == output(code)


@pytest.mark.parametrize("imports", ["netlab.kernel.codecs, pyroute2", "pyroute2, netlab.kernel.codecs"])
def test_messages_are_the_same_classes(imports: str):
    """Whichever is imported first, a link's message is one class."""
    code = "from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg; print(ifinfmsg is netlab.kernel.codecs.ifinfmsg)"

    assert "True" == output(f"import {imports}; {code}")
