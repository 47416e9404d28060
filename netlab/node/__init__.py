"""What runs for a node: `kubelet`, `agent`, and `pods`, the ways to run a pod."""
