"""How the API server treats each kind: one module per kind, with one `Kind` each (pure).

`kind` defines the type, `table` lists the kinds, `filling` helps with defaults. Path, scope and
Python type of a kind are in `netlab.api.resources`, because clients use them, too.

- Cluster: `namespace`, `node`, `lease`, `event`, `lab`.
- Network: `service`, `endpoints`, `endpoint_slice`.
- Workloads: `pod`, `deployment`, `replica_set`, `daemon_set`.
- Configuration: `config_map`, `secret`.
"""
