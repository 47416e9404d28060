"""The lab's one long-lived process."""
