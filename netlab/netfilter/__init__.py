"""The rule language as values, its text, and a packet's way through the rules. Pure."""
