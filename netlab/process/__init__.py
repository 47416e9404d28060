"""Processes of a lab: how they start, how a later daemon finds them, and how they end.

- Start: `spawner` asks `zygote`, which forks with the imports done; `enter` is what a command of a host or pod does first;
  `launch` starts the daemon; `podfiles` are the files that a pod's command sees (pure).
- Records: `records` writes down and ends processes, `marks` finds those that lost their record, `identity` tells one
  process from a later one with the same number, `supervisor` starts again what ended.
- Life: `lifetime` is how a process is asked to end, `children` a child process that is never lost, `programs` runs pip and
  mmdebstrap.
- Logs: `logs` is how a process logs, `log_files` a log of bounded size, `log_keeper` stores the output of pods' commands,
  `log_pipes` is the spawner's side of it.
"""
