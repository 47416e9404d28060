"""The cluster's DNS: the zone (pure) and its server."""
