"""Checks computed from the objects, run with real packets, shown with evidence.

- `connectivity` is the story of a test: snapshot, plan, run, look for changes, judge, record.
- The folder `plan` computes the checks and their expectations from the objects (pure).
- The folder `run` sends the packets and records the result of each check.
- The folder `judge` compares the two and names likely causes (pure).
- The folder `report` makes one JSON document of the result, and renders it.

A folder imports only those before it in this order: plan, run, judge, report, then `connectivity`.
"""
