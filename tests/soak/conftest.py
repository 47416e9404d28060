"""The soak is collected by `make soak` alone, which says for how long."""

from __future__ import annotations

import os

if not os.environ.get("NETLAB_SOAK_SECONDS"):
    collect_ignore_glob = ["test_*.py"]
