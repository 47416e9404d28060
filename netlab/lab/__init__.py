"""The story of a lab, read top to bottom: what the command line calls.

- `up`: read the `files`, start a daemon or find the running one, record the lab while the daemon
  loads (`recording`), then write the objects that differ (`apply`) and wait until every path is
  programmed (`converge`).
- `down`: stop what was recorded, remove what was marked, check that nothing is left; `gc`: the same
  for labs that no longer run.
- `privilege`: root, or the lab's own user namespace.
- `find`: which lab is meant, its API server, its lock. `status`, `logs`, `execute`, `next`, `test`: a verb each.
- `repair`: rebuilds damaged files of a lab's record.
- `machine_view`: what `status` sees on the machine and the API server does not contain yet.
- `preflight`: checks before anything is created; `marks`: finds what belongs to a lab by its marks.
- `forward`: ports of this machine that lead into a pod; `forward_target`: which pod, which ports; `pods`: a pod by its name.
- `doctor`: what this machine lacks; `images`: the images of runtime docker.
- `access`: what the verbs do to hosts and pods, for each runtime.
- `containers`: what a lab of containers needs in addition; `container_exec`: a command in one, with
  a terminal; `container_images`: images of pods, before anything is created.
"""
