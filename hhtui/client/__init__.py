"""The control API's clients: ``sync`` for commands, ``link`` for screens, ``starting`` to bring an engine up."""
