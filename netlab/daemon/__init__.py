"""The lab's one long-lived process.

- `main`: the parts put together, in the order of a start; `python -m netlab.daemon` is how `netlab up` starts it.
- `hosts`: the lab's own controller, from the Lab object to hosts, Node objects and processes; `hostfiles`: their /etc.
- `machinery`: what of all this depends on the lab's runtime, put together by `machinery_netns` and `machinery_docker`.
- `supervisor`: keeps agents, workload servers and the edge running (`host_processes`), where hosts are namespaces.
- `convergence`, `routes`: whether everything that was asked for is in place, for `netlab up` that waits for it.
"""
