"""From the text of a topology file to a Lab and its manifests, with line numbers."""
