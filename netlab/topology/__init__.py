"""From the text of a topology file to a Lab and its manifests, with line numbers.

    load(sources) -> Topology                    the whole story; raises InvalidTopologyError with every problem
    manifest_paths(source)                       the files and folders to read beside the topology file
    problems_of(resource, body, networking)      the same rules for one object of the API server
    unknown_fields(body, resource), type_problems(body, resource), pruned(body, resource)
    schema()                                     for editors

How it works: `document` reads YAML with positions, `decoding` holds it against the types of `netlab.api` and the table in
`fields` (whose words are in `syntax`), `lists` splits a `List`, `manifest` is one object with its places, `rules` know what
must hold between fields and between objects, `loading` puts them together. `from_server` leaves out what only a server writes.
`problem` is what is wrong and where; `foreign` recognizes other programs' files; `validation` applies the rules to one object,
for the API server; `json_schema` makes the schema from the same table.
"""

from __future__ import annotations

from netlab.topology.decoding import Decoded, decode, pruned, type_problems, unknown_fields
from netlab.topology.document import Source
from netlab.topology.json_schema import schema
from netlab.topology.loading import load, manifest_paths, manifest_problem
from netlab.topology.manifest import Manifest, Topology
from netlab.topology.problem import Problem
from netlab.topology.validation import problems_of

__all__ = [
    "Decoded",
    "Manifest",
    "Problem",
    "Source",
    "Topology",
    "decode",
    "load",
    "manifest_paths",
    "manifest_problem",
    "problems_of",
    "pruned",
    "schema",
    "type_problems",
    "unknown_fields",
]
