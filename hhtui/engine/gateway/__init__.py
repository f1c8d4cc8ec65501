"""The gateway: apps reached by their names, through Caddy."""
