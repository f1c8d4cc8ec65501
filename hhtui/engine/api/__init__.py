"""The control API: HTTP on the home's Unix socket, and its read-only export on TCP (contract, section 6)."""
