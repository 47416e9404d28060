"""HTTP/1.1 for agents and built-in workloads: a small server on h11.

- `server` carries the requests and answers; `messages` are their types.
"""
