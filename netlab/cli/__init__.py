"""The command line. No other package prints, draws, or chooses an exit code.

- `entry`: the first module that runs; `main`: the program; `verbs`: one module per kind of work;
  `options`: what all verbs share.
- `words`: the order of arguments; `run`: errors and signals become messages and exit codes;
  `streams`: output whose reader has closed it.
- `render`, `connectivity`: documents as tables, JSON or YAML; the connectivity test's report.
"""
