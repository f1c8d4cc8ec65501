"""One app: what it does next, and who does it."""
