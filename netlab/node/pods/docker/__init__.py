"""Pods as containers: `pods` is the runtime, which receives the engine's events.

- `sandboxes` creates the pods' networks, `manager` their containers, `tasks` carries out the calls to the engine.
- Pure: `runs` is what is known of runs, `containers` what is started.
"""
