"""Redis: the server, its keys, and the bridge of events."""
