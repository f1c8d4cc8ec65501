"""The configuration: seen, changed, taken back."""
