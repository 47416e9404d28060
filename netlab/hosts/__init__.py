"""The hosts of a lab: nodes, clients, edge and fabric, as network namespaces or as containers.

- `hosts`: which hosts a lab has, their addresses (pure), and what a runtime must provide.
- `netns` creates them as network namespaces, `docker` as containers; `docker_specs` computes each host's container and
  `docker_network` the lab's Docker network (both pure); `wiring`: the cables, the same for both.
- `claims`: refuses a namespace's name that another owner has. `startup`: the arguments of an agent
  in a container.
"""
