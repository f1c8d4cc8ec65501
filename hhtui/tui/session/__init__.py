"""What is between the screens, the terminal and the engine."""
