"""What the interface costs on its terminal: bytes, CPU, memory, first paint, answers to keys; and others beside it."""
