"""Apps that sleep until somebody visits: the doorbell, the waking page, and who is connected."""
