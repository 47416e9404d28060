"""Judges what was observed against what was expected, and finds causes (pure; imports `plan` and `run.observed`).

- `verdict`: pass, fail or not tested, with reasons.
- `changes`: which objects changed during the run, and which checks that concerns.
"""
