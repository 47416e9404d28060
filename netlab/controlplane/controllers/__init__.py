"""Controllers: pure functions from a snapshot of the objects to writes; `netlab.controlplane.manager` runs them."""
