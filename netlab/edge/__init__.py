"""The router between nodes and the outside, and the load balancer in its kernel."""
