"""Hosts, and what a lab keeps on disk.

- `hosts`: which hosts a lab has, and their addresses (pure), and what a runtime does; `netns` makes them as network
  namespaces, `docker_hosts` as containers; `wiring`: their cables, the same for both.
- `docker_host_specs`: what container each host is, and what it may do (pure); `docker_network`: the lab's Docker network, and
  which subnet is free; `given`: what an agent finds in its container.
- `docker`: containers, and the door to the engine that has them; `docker_engine` is the real one (the SDK) with
  its parts `docker_commands`, `docker_events` and `docker_refusals`, `fake_docker` the one for tests, `docker_words` what is
  said on the way.
- `images`: the images of the containers, built when their content changes; `image_recipes` computes what they are made of
  (pure), `image_base` has what they stand on, `image_dependencies` the libraries in them; `programs` runs pip and mmdebstrap.
- `claims`: whose a namespace is: a name that somebody else has is not taken.
- `statedir`: the paths of a lab's record. A thing is recorded before it is made and struck off after it is gone.
- `launch`: starts the daemon; `children`: a child that is never lost; `lifetime`: how a process is asked to end; `identity`:
  which one it is; `logs`: how it logs; `log_files`: a log that has a size.
"""
