"""From Services and EndpointSlices to rules. Pure."""
