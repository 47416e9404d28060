"""Checks computed from the objects, run with real packets, shown with evidence."""
