"""The in-process bus, the Redis bridge and the private Redis server."""
