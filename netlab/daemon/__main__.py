"""`python -m netlab.daemon RUNTIME`: how `netlab up` starts the daemon (netlab.process.launch)."""

from __future__ import annotations

import sys

from netlab.daemon.main import main

main(sys.argv[1])
