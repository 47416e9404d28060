"""Which checks to run and what must come of them, computed from the objects (pure; imports no other room of probe).

- `snapshot`: the objects of one moment, indexed for the plan; `fake` makes one for tests.
- `checks`: the values of a plan: `Place`, the actions, `Expectation`, `Check`; `outcome`: what can become of a packet.
- `plan`: all checks of a lab; paths between places here, those of Services in `services`, of names in `names`.
- `choose`: which pairs of places; `expectation`: what must come of a check; `sampling`: how many connections it takes.
"""
