"""The gateway on the screen."""
