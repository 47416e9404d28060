"""Kubernetes' nouns as frozen types, and the table of kinds the API server serves."""
