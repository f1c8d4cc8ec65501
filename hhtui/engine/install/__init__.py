"""Building the environments that apps run in."""
