"""How packets reach pods of other nodes, and what leaves the pod network: flannel. Pure.

- `backends`: the table of backends, and what each gives.
- `leases`: what all backends share: a node's lease in its annotations, which leases fit together.
- `vxlan`: the backend `vxlan`: flannel.1 and three entries per node.
- `masquerade`: flannel's own table, `flannel-ipv4` or `flannel-ipv6`.
"""
