"""`python -m netlab.edge.container`: how the edge's container runs the load balancer (images/edge)."""

from __future__ import annotations

from netlab.edge.main import main
from netlab.hosts.startup import begin

if __name__ == "__main__":
    main(begin())
