"""`python -m netlab.node.container`: how a node's container runs its agent (images/node)."""

from __future__ import annotations

from netlab.node.agent import main
from netlab.runtime.given import begin

main(begin())
