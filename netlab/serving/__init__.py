"""How every server of a lab takes connections, so that one client cannot use up what all of them share.

- `descriptors`: raises the limit of open files to what the machine allows.
- `roster`: who may connect, and which connection makes room for a new one (pure).
- `listener`: the accept loop; it survives a process without free descriptors.
- `streams`: a connection as a pair of streams; `halfclose`: the end of what one side sends, also to a client that has gone.

The API server, the node's DNS and health servers, built-in workloads and `port-forward` listen through it.
"""
