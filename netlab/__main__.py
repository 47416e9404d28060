"""`python -m netlab`: the same program as the command `netlab`."""

from __future__ import annotations

from netlab.cli.entry import main

main()
