"""Checks computed from the objects, run with real packets, shown with evidence.

- Pure: the folder `plan` computes the checks and their expectations; `verdict` compares these with `observed`; `changes`
  finds what changed during the run; `hints` and `hints_rules` say what may be wrong. `ports` has the source ports of
  datagrams.
- Acting: `runner` is the story; `prober` sends from a `vantage` point with `sockets` and `resolve`,
  `servers` answer, `capture` sees every packet, `stamps` say when, and `wire` reads it; `neighbours`
  takes out of the machine's neighbor table what probes put in.
- `record` is the result as one JSON document, `evidence` its decoded packets; `summary`, `markdown`, `junit` and
  `annotations` render it.
"""
