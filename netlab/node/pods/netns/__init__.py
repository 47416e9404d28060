"""Pods as processes in a network namespace: `pods` is the runtime, `probes` runs exec probes."""
