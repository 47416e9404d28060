"""Words in, words out: the command line. Nobody else prints, draws, or chooses an exit code.

- `entry`: the first thing that runs; `main`: the program; `verbs`: one module per kind of work; `options`: what all verbs share.
- `words`: the order of words; `run`: from errors and signals to words and exit codes; `streams`: when nobody reads them.
- `render`, `connectivity`: documents as tables, JSON or YAML; the connectivity test's report.
"""
