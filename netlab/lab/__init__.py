"""The story of a lab, read top to bottom: what the command line calls.

- `up`: read the `files`, have a daemon load or find the one there is, meanwhile put the lab on record (`recording`), then write
  the objects that differ (`apply`) and wait until every path is programmed (`converge`).
- `down`: stop what was recorded, remove what was marked, look whether anything is left; `gc`: the same for
  labs that no longer run.
- `privilege`: root, or a user namespace of the lab's own.
- `find`: which lab is meant, its API server, its lock. `status`, `logs`, `execute`, `next`, `test`: a verb each.
- `repair`: what of a lab's record is damaged is rebuilt.
- `machine_view`: what `status` sees on the machine that the API server does not know yet.
- `preflight`: what is looked at before anything is made; `marks`: what of a lab is there, by the marks it carries.
- `forward`: ports of this machine that lead into a pod; `forward_target`: which pod, which ports; `pods`: a pod by its name.
- `doctor`: what this machine lacks; `images`: the images of runtime docker.
- `access`: what the verbs do to hosts and pods, for each runtime.
- `containers`: what a lab of containers needs besides; `container_exec`: a command in one, with a terminal;
  `container_images`: images of pods, before anything is made.
"""
