"""How every server of a lab accepts connections, so that one client cannot exhaust them.

- `descriptors`: raises the limit of open files to what the machine allows.
- `roster`: the limits of connections, and which connection is closed for a new one (pure).
- `listener`: the accept loop; it survives a process without free descriptors.
- `streams`: a connection as a pair of streams; `halfclose`: shuts down the sending side.

The API server, the node's DNS and health servers, built-in workloads and `port-forward` listen through it.
"""
