"""What is known of apps: found, given a port, installed, started and asked for their health."""
