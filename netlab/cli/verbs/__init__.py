"""The verbs, one module per kind of work: change, inspect, test, diagnose labs; manage images."""
