"""The terminal interface: knows the client, nothing of the engine."""
