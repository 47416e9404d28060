"""The verbs, one module per kind of work: change, inspect, test and diagnose labs; manage images."""
