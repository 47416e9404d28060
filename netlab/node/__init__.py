"""What runs for a node: kubelet, agent, built-in workloads, and how processes are started.

- The kubelet (one for all nodes, in the daemon): `kubelet` is its loop, `kubelet_pods` the life of one pod, `kubelet_probing`
  and `readiness_probes` its probes, `sandbox` its network, `kubelet_writing` what the API hears,
  `kubelet_surroundings` what it knows, `kubelet_settled` what it waits for, `kubelet_failures` what broke.
  Pure: `containers`, `kubelet_status`, `kubelet_restore`, `kubelet_drain`, `kubelet_nodes`, `readiness`, `podfiles`.
- How pods are run: `pod_runtime` is what the kubelet asks for; `netns_pods` and `netns_probes` do it with processes;
  `builtin` says which containers need none; `pod_runtime_fake` is the one for tests.
- With containers: `docker_pods` is asked and receives the engine's events; `docker_sandboxes` has
  the pods' networks, `docker_manager` their containers, `docker_tasks` the calls to the engine;
  pure: `docker_runs` is what is known of runs, `docker_containers` what is started. `pod_images`
  chooses images.
- The agent (one process per node): `agent` is its loop, `agent_plane` contains its keepers: `agent_parts` for overlay and rules,
  `agent_health`; `agent_damage` says when to look at what somebody changed by hand; `container` starts it in a node's container.
- HTTP as a server: `http_server` carries the requests and answers of `http_messages`, for agents and built-in workloads.
- Built-in workloads (one process per node): `workloads`, `workloads_serving`, `servers`; `workloads_link` is the
  kubelet's end, `workloads_protocol` what they say; `workloads_sockets` makes their sockets; `workload_container` serves one of
  them in a container.
- Processes: `spawn` and `spawn_zygote` start them, `processes` records and ends them, `process_marks` finds those
  that lost their record, `entering` is what exec does; `capabilities` is what a pod's command may do, `pod_limits`
  what it may take.
  `log_keeper` stores what pods' commands write; `log_pipes` is the spawner's side of it.
"""
