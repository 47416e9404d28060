"""The result of a test as one JSON document, and its renderings (imports `plan`, `run` and `judge`).

- `record` is the document, with `evidence`: the way of chosen packets, decoded by scapy.
- `summary`, `markdown`, `junit` and `annotations` render it (pure).
"""
