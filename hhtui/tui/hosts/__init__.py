"""The machines to switch between."""
