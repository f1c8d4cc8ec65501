"""The engine: one process, one event loop, many apps."""
