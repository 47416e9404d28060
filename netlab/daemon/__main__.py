"""`python -m netlab.daemon STATE_DIRECTORY`: how `netlab up` starts the daemon (netlab.runtime.launch)."""

from __future__ import annotations

import sys
from pathlib import Path

from netlab.daemon.main import main

main(Path(sys.argv[1]))
