"""The rule language as values, its text, and a packet's way through the rules. Pure.

- `ruleset`: the nouns: hooks, priorities, chains, sets, maps; `Ruleset` is one table.
- `script`: `render()` makes a table from nothing, `transaction()` turns one ruleset into another, changing only what differs.
- `blocks`: the parts that every load-balancing table has, for the compilers in proxy and edge.
- `vetting`: what may stand in a script; a fragment with anything else is left out alone.
- `listing`: a table as `nft list` prints it: read, and compared with what is wanted.
- `repair`: the script that turns a table that differs into what is wanted.
- `language`: the meaning of one rule; knows every statement netlab writes and refuses all others.
- `trace`: a packet's way through the hooks of a host: `trace(tables, packet, host) -> outcomes`, with the rules that decided.
"""
