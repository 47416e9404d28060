"""The Kubernetes API of a lab, from the store to its clients.

A request's way: `server` (HTTP; `connections` bounds its clients) -> `requests` (what it means, as
`options`) -> `api` (the verbs) -> `auth`, `admission`, `schema`, `strategy`, `services` with
`allocation`, `validation`, `restriction` (may it be, what is filled in) -> `registry` (what follows
from it; `expiry` of Events) -> `store` (SQLite). `binding` reads the one body that is not an object.
`status` makes the error answers, `bounds` limits what a request may cost, `duplicates` finds fields
that a body names twice, `failures` answers for unexpected exceptions.

- `kinds`: what the API server does differently from kind to kind, one module per kind.
- Reading: `lists`, `watch`, `selectors`, `discovery`. Patches: `patches`.
- Clients: `client` (the Protocol), `local` (in the daemon), `http` over `connection` (agents, edge), `sync` (the command line);
  `urls`, `kubeconfig`.
- Staying up to date: `informer` keeps a copy of a kind, `loop` runs what is level-triggered, `lease` reports how far it has come,
  `left_out` what could not be programmed.
- `controllers`: pure functions from objects to writes; `manager` runs them, `performing` does a write of theirs.
- `pki`, `certificates`: TLS.
"""
