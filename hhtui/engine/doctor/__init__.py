"""What may be wrong with a home and its machine, and how to fix it."""
