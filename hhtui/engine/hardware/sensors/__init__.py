"""What the machine's sensors and kernel files say, one module for each kind."""
