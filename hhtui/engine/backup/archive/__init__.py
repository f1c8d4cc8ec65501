"""A backup's file: its format, how it is written and read."""
