"""Questions, the help and the palette."""
