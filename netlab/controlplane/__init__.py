"""The Kubernetes API of a lab: store, watch, REST server, client, controllers."""
