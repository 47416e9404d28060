"""The container engine: one protocol, the Docker SDK behind it, and a fake.

- `protocol`: containers, networks and images as values, and what an engine does with them (pure).
- `client`: the Docker engine, through its SDK, with its parts `commands`, `events` and `errors`; `codec`: the engine's JSON
  to values and back (pure).
- `fake`: the engine for tests.
"""
