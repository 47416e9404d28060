"""The lab's one long-lived process.

- `main`: the parts put together, in the order of a start; `python -m netlab.daemon` is how `netlab up` starts it.
- `hosts`: the lab's own controller, from the Lab object to namespaces, Node objects and processes; `hostfiles`: their /etc.
- `supervisor`: keeps agents, workload servers and the edge running.
- `convergence`, `routes`: whether everything that was asked for is in place, for `netlab up` that waits for it.
"""
