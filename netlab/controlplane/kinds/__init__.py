"""How the API server treats each kind: one module per kind, with one `Kind` each (pure).

`kind` defines the type, `table` lists the kinds. `netlab.api.resources` has the other half of a kind: its path, its type.

- Cluster: `namespace`, `node`, `lease`, `event`, `lab`.
- Network: `service`, `endpoints`, `endpoint_slice`.
- Workloads: `pod`, `deployment`, `replica_set`, `daemon_set`. Configuration: `config_map`, `secret`.
"""
