"""From Services and EndpointSlices to rules. Pure.

- `endpoints`: the endpoints of a service port merged from its slices, and which of them traffic may use.
- `serviceport`: the noun, one port of one Service as this node must serve it; `claims`: one owner for every address.
- `servicemap`: Services and EndpointSlices -> `ServicePortMap`, everything a proxy mode needs to know; kept incrementally.
- `nftables`: `ServicePortMap` -> the table `kube-proxy` of a family, one fragment per Service (`frame`, `names`).
- `modes`: the table of proxy modes, and what each gives.
- `conntrack`: which UDP flows must be forgotten after a change.
- `remarks`: what Services ask for and do not get, in words.
- `health`: what the health checks of load balancers, and healthz, answer.
"""
