"""Kubernetes' nouns as frozen types, and what all parts must agree on. Pure.

- The kinds, of the core group: `cluster` (Namespace, Node), `config` (ConfigMap, Secret), `pods`, `services` (also Endpoints),
  `events`; of others: `apps`, `discovery`, `coordination`, `lab`. `meta`: what every object has.
- `resources`: the table of kinds the API server serves: path, kind, scope, Python type; `structs`: the fields of those types.
- `wellknown`: annotations, labels and keys of objects; `selection`: label selectors; `times`: RFC 3339;
  `numbers`: whole numbers in the text of objects.
- `values`: addresses, ports, protocols and names, parsed: the only form in which they reach the kernel.
- `catalogue`: the images that runtime `netns` can run.
"""
