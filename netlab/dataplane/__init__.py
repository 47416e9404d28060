"""What a network namespace should hold, and the difference to what it holds. Pure."""
