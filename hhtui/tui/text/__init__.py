"""Text in terminal cells, and the panels of lines that all screens are made of."""
