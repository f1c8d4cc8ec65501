"""What happens on the bus: the stream, its filter, one event whole."""
