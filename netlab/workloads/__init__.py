"""The built-in workloads: one process per node that serves all its pods, or one per container with runtime docker.

- `program` is the process, `serving` its servers (`servers` has one module per image), `sockets` creates their sockets in the
  pods' namespaces.
- `protocol`: the messages between the process and the kubelet (pure).
- `container` serves one workload in a container.
"""
