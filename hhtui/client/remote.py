"""The API's client for commands, over SSH: an engine of another machine, behind a forwarded socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hhtui.client.sync import TIMEOUT_SECONDS, EngineClient, EventReader
from hhtui.client.tunnel import Tunnel, engine_answers
from hhtui.client.wire import EngineGoneError, EngineSilentError
from hhtui.errors import HomeHelperError, NoEngineError


class RemoteClient(EngineClient):
    """``tunnel``'s engine; errors name the machine, and tell a lost connection from an engine that is not there."""

    is_local = False

    def __init__(self, tunnel: Tunnel, timeout: float = TIMEOUT_SECONDS) -> None:
        super().__init__(tunnel.socket_path, timeout)
        self.tunnel = tunnel

    def check(self) -> None:
        """Raise unless an engine answers: a socket that a killed engine left is forwarded like any other."""
        self.health()

    def runs(self) -> bool:
        """Whether an engine answers; ssh's own end of the socket always takes a connection."""
        try:
            self.health()
        except NoEngineError:
            return False
        return True

    def events(self, channel: str | None = None, after: str | None = None, *, follow: bool = True) -> EventReader:
        with self._explained(gone=True):
            return super().events(channel, after, follow=follow)

    def _ask(self, method: str, path: str, *arguments: Any, **more: Any) -> Any:
        # What was to be changed may have been changed before the engine went away: that is not "no engine runs".
        with self._explained(gone=method == "GET"):
            return super()._ask(method, path, *arguments, **more)

    @contextmanager
    def _explained(self, *, gone: bool) -> Iterator[None]:
        try:
            yield
        except (EngineGoneError, NoEngineError) as error:
            if gone or not self.tunnel.alive:
                raise engine_answers(self.tunnel, error) from None
            raise
        except EngineSilentError as error:
            raise self._named(error) from None

    def _named(self, error: HomeHelperError) -> HomeHelperError:
        if not self.tunnel.alive:
            return engine_answers(self.tunnel, error)
        socket = str(self.tunnel.socket_path)
        return EngineSilentError(error.message.replace(f"at {socket}", f"on {self.tunnel.place}"))
