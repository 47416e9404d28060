"""Hosts: where a lab's nodes live, and what a lab keeps on disk."""
