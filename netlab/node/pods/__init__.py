"""How pods run: what the kubelet asks for, and the runtimes that do it.

- `runtime` is the protocol; `netns` runs pods as processes, `docker` as containers; `fake` is the runtime for tests.
- Pure: `containers` and `readiness` compute the state of containers and probes, `builtin` decides which containers need no
  process, `limits` what a pod may use, `capabilities` what its command may do. `images` chooses images.
- `link`: the connection to the process of the built-in workloads.
"""
