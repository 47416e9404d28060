"""What a network namespace should hold, and the difference to what it holds. Pure.

- `state`: the nouns: links, addresses, routes, neighbours, FDB entries, settings; `NamespaceState` is all of one namespace.
- `pod`, `bridge`, `fabric`: the state of a pod, of a node's bridge, of hosts and their cables.
- `owned`: what one part of a node wants in a namespace that it shares with others.
- `diff`: from wanted and observed to ordered operations, each of which prints as the `ip` command that would do the same.
- `flows`: flows of conntrack, and the filter that says which of them to delete.
- `cables`: veth pairs whose ends are not where they belong.
- `names`: the naming scheme: namespaces, interfaces, MAC addresses, ownership marks.
"""
