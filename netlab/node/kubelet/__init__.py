"""The kubelet: one for all nodes, in the daemon.

- `kubelet` is its loop, `pods` the life of one pod, `probing` and `readiness_probes` its probes, `sandbox` the pod's network,
  `writing` the writes to the API, `cluster_view` what it reads of the cluster, `convergence` what it waits for,
  `failures` what broke.
- Pure: `status`, `restore`, `drain`, `nodes`.
"""
