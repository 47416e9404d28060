"""`python -m netlab.node.agent.container`: how a node's container runs its agent (images/node)."""

from __future__ import annotations

from netlab.hosts.startup import begin
from netlab.node.agent.agent import main

if __name__ == "__main__":
    main(begin())
