"""Pods as containers: `pods` is the runtime, which receives the engine's events.

- `sandboxes` creates the pods' networks, `manager` their containers, `tasks` carries out the calls to the engine.
- Pure: `runs` is the state of runs, `containers` what is started.
"""
