"""The apps: their table, the page of one, and what is done with them."""
