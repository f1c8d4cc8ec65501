"""One widget a file; all of them draw line by line and redraw only what changed."""
