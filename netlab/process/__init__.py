"""Processes of a lab: how they start, how a later daemon finds them, and how they end.

- Start: `spawner` asks `zygote`, which forks with the imports done; `enter` is the first step of a
  command in a host or pod; `launch` starts the daemon; `podfiles` are the files that a pod's
  command sees (pure).
- Records: `records` records and ends processes, `marks` finds those that lost their record,
  `identity` distinguishes a process from a later one with the same pid, `supervisor` restarts those
  that ended.
- Life: `lifetime` ends asyncio code on a signal, `children` starts a child process that is never
  lost, `programs` runs pip and mmdebstrap.
- Logs: `logs` is the logging of a process, `log_files` a log of bounded size, `log_keeper` stores
  the output of pods' commands, `log_pipes` is the spawner's side of it.
"""
