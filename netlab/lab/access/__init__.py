"""What the verbs do to the hosts and pods of a lab, whatever these are made of.

- `interface`: the Protocol `HostAccess` (pure); `choice`: which implementation a lab has.
- `netns`: hosts and pods are network namespaces; `docker`: they are containers.
- `fake`: hosts and pods in memory, for tests of the verbs; it passes the same contract tests.
"""
