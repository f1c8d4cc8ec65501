"""Apps come, change and go: adding them, and what their jobs show and ask."""
