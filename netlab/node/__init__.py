"""What runs for a node: the kubelet part, the agent, built-in workloads."""
