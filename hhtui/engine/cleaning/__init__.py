"""What lies around in a home and is of no use to any app that is there."""
