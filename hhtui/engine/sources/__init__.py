"""Where apps come from and where they go: fetching, adding, updating, moving and removing them."""
