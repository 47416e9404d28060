"""`python -m netlab.node.container`: how a node's container runs its agent (images/node)."""

from __future__ import annotations

from netlab.node.agent import main
from netlab.runtime.given import begin

if __name__ == "__main__":
    main(begin())
