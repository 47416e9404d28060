"""The cluster's DNS: the zone, the server on every node, and the client side.

- `zone`: a question to an answer (pure); `records`: the names a Service owns; `reverse`: addresses to names; `hosts`: the
  lab's own hosts; `answers`: the four kinds of answer; `bulk`: sets of many records.
- `forwarding`: which names other servers are asked about (pure); `upstream`: asking them.
- `messages`: answers as DNS messages, cut to size; `server`: UDP and TCP, with responses kept in wire form.
- `resolver`: the content of a pod's /etc/resolv.conf, and the names tried because of it;
  `environment`: Service environment variables, the older form of discovery.
"""
