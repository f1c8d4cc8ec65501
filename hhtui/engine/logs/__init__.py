"""Logs: exactly-once capture of the apps' output, rotation, the index of times, reading, the engine's own log."""
