"""The words that engine, client, command line and screens share."""
