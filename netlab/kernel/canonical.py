"""How a namespace would list a table, to compare an existing table with a wanted one."""

from __future__ import annotations

from dataclasses import replace

from netlab.kernel.door import Kernel
from netlab.netfilter.listing import Listing
from netlab.netfilter.ruleset import Ruleset
from netlab.netfilter.script import contents

DRAFT = "netlab-draft"  # the name of a table that is only there to be listed


def canonical(kernel: Kernel, path: str, wanted: Ruleset) -> Listing:
    """Return a table as the nft of this machine prints it, by a draft of it in the namespace at `path`."""
    draft = replace(wanted, table=DRAFT)
    return kernel.nft_canonical(path, contents(draft), draft.family, draft.table)
