"""The edge of a lab: the router between the nodes and the outside network, and the L4 load balancer in its kernel.

`frontends` reads Services, `rules` writes nft rules for them (both pure), `health` decides which nodes get traffic,
`balancer` is the loop that brings these together, `main` the process.
"""
