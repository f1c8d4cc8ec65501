"""What the machine and the apps use, read from the kernel's own files."""
