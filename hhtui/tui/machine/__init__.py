"""The machine and the engine: gauges, history, processes."""
