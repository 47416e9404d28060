"""Judges what was observed against what was expected, and finds causes (pure; imports `plan` and values of `run`).

- `verdict`: pass, fail or not tested, with reasons.
- `changes`: which objects changed during the run, and which checks that concerns.
- `hints`: where the state of the nodes explains a loss; `hints_rules`: rules that differ from those written.
"""
