"""The only door to netlink, nft, conntrack, sysctls and namespaces. It handles states and rule text, not Services or pods.

- `door`: the Protocol; `linux`: the real one; `fake`, `fake_nft`: the one for tests, which passes the same contract tests.
- `namespaces`, `libc`: network namespaces without a process each; `user_namespace`, `mounts`: without root.
- `netlink`, `codecs`, `rtnetlink`: batches of requests; `listing`, `observed`: what the kernel lists; `conntrack`: flows;
  `monitor`: what changes, as it happens; `neighbours`, `overflow`: the machine's neighbor table, and when it was too small.
- `nft`, `canonical`, `tables`: rules as one transaction, read back, compared, and kept as they should be.
- `states`: links, addresses and routes of a part of a node, kept as they should be.
- `privileges`, `seccomp`: what a process gives up for good.
- `sysctl`: settings; `refusal`: the errors for the kernel's refusals.
"""
