"""Logs: a panel, and the viewer over the whole screen."""
