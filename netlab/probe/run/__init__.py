"""Sends the packets of checks and records their results (imports `plan`; no judgment here).

- `runner` carries out the checks of a plan.
- `prober` carries out one check, from a `vantage` point, with `sockets` and `resolve`; `ports`: source ports of datagrams.
- `servers` answer in the target's namespace.
- `capture` sees every packet, `stamps` give its time, `wire` reads it.
- `observed`: the result of a check, compared with its expectation.
- `neighbours` removes from the machine's neighbor table what probes put in.
"""
