"""A client that moves an app, and kills a process at the moment that it is told: ``python -m`` with a JSON argument.

``home``, ``place``, ``host``, ``app``; ``words`` (how the step begins that it happens at), ``bytes`` (copied by then),
``pid`` (0: this client).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from hhtui.client.moving import Homes, Move
from hhtui.client.remote import RemoteClient
from hhtui.client.sync import EngineClient
from hhtui.client.tunnel import Tunnel
from hhtui.errors import HomeHelperError
from hhtui.paths import Home


def main(told: dict[str, str]) -> int:
    """0 if it has moved."""
    pid, killed = int(told["pid"]), False

    def progress(words: str, done: int, _total: int) -> None:
        nonlocal killed
        if not killed and words.startswith(told["words"]) and done >= int(told["bytes"]):
            killed = True
            os.kill(pid or os.getpid(), signal.SIGKILL)

    with Tunnel(told["host"]) as tunnel:
        tunnel.open()
        source = EngineClient(Home.at(Path(told["home"]), environ={}).engine_socket)
        homes = Homes(source, told["place"], RemoteClient(tunnel), tunnel.place, told["host"])
        move = Move(homes, told["app"], progress)
        try:
            move.preview()
            print(json.dumps(move.run()))
        except HomeHelperError as error:
            print(error.message, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
