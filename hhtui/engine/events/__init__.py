"""Every event of the engine, and who listens to it."""
