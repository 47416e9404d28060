"""What must hold between the fields of one object, per kind; between objects: `netlab.topology.rules.together`."""
