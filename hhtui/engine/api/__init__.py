"""The control API: HTTP on the home's Unix socket, and its read-only export on TCP (docs/api.md)."""
