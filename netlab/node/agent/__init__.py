"""The agent: one process per node. It keeps the node's network plane, answers DNS and health checks.

- `agent` is its loop, `plane` contains its keepers; `parts` keeps overlay and rules, `health` answers health checks, `damage`
  decides when to look at the kernel again.
- `container` starts it in a node's container.
"""
