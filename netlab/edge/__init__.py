"""The edge of a lab: router between the nodes and the outside network, L4 load balancer in its kernel, DNS outside the cluster.

- Pure: `frontends` reads Services, `rules` writes nft rules for them, `steering` the routes of ports without a node port.
- Acting: `balancer` is the loop that brings all together, `health` decides which nodes get traffic and `probing` asks them,
  `programming` writes to the kernel, `names` serves DNS, `reporting` tells what cannot be served, `main` is the process;
  `container` starts it in a container.
"""
