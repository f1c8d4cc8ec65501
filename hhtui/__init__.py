"""HomeHelper: turns a Raspberry Pi into a home-app platform that a person runs from a terminal."""

__version__ = "0.1.0"
