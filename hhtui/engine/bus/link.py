"""One connection to a Redis server: opened once, pipelined, and closed at the first doubt.

redis-py's connection does the handshake, TLS and encoding. Its own retries, reconnects and health checks stay off:
when to try again is the bridge's decision alone. RESP2 is spoken, which every server since 2.6 knows and which spares
the HELLO and maintenance-notification round trips.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from hhtui.engine.bus.address import ServerAddress, scrub
from hhtui.engine.bus.redis_parts import redis_parts
from hhtui.errors import HomeHelperError
from hhtui.paths import socket_address

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

Command = Sequence[bytes | str | int | float]

# Options of a Redis URL that speak to a connection pool, or that are ours to decide.
_NOT_FOR_CONNECTIONS = frozenset(
    {
        "max_connections",
        "timeout",
        "retry_on_timeout",
        "health_check_interval",
        "socket_timeout",
        "socket_connect_timeout",
        "protocol",
        "decode_responses",
    }
)
_KNOWN_REPLIES = {
    "WRONGPASS": "refused the user name or password (WRONGPASS)",
    "NOAUTH": "wants a password (NOAUTH): set redis.password",
    "NOPERM": "does not permit this user what is needed (NOPERM)",
    "LOADING": "is still loading its data (LOADING)",
    "MISCONF": "cannot save to its disk and refuses writes (MISCONF)",
    "OOM": "is full and refuses writes (OOM, see maxmemory)",
    "READONLY": "is a read-only replica (READONLY)",
    "BUSY": "is busy with a script (BUSY)",
}


class LinkError(HomeHelperError):
    """The server cannot be reached, or the connection is lost; one line without secrets."""

    slug = "redis"


class Refusal(LinkError):
    """The server answered a command with an error; the connection is as it was. ``code`` is its first word."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Link:
    """An open, authenticated connection. One task at a time may use it."""

    def __init__(self, connection: AbstractConnection, address: ServerAddress, timeout: float) -> None:
        self._connection = connection
        self._address = address
        self._timeout = timeout
        self._awaited = 0

    @classmethod
    async def open(cls, address: ServerAddress, *, timeout: float) -> Self:
        """Connect, authenticate, select the database and see a PONG, all within ``timeout`` seconds.

        ``timeout`` later bounds each wait for an answer, too. Raises LinkError.
        """
        module = (await asyncio.get_running_loop().run_in_executor(None, redis_parts)).connection
        try:
            options = module.parse_url(address.url)
            kind = options.pop("connection_class", module.Connection)
            options = {name: value for name, value in options.items() if name not in _NOT_FOR_CONNECTIONS}
            with contextlib.ExitStack() as stack:
                if address.socket is not None:
                    options["path"] = stack.enter_context(_short(address.socket))
                connection = kind(
                    **options, protocol=2, socket_timeout=None, socket_connect_timeout=timeout, driver_info=None
                )
                link = cls(connection, address, timeout)
                try:
                    async with asyncio.timeout(timeout):
                        await connection.connect()
                        (pong,) = await link.execute([("PING",)])
                        if isinstance(pong, Refusal):
                            raise pong
                except BaseException:
                    await link.close()
                    raise
        except LinkError:
            raise
        except Exception as error:
            raise LinkError(_words(error, address, timeout)) from None
        return link

    @property
    def reader(self) -> asyncio.StreamReader:
        """The stream below the parser, for ``PubSubParser``: redis-py's own costs ten times as much a message."""
        reader = self._connection._reader
        if reader is None:
            raise LinkError(f"{self._address.name} closed the connection")
        return reader

    @property
    def name(self) -> str:
        """The server, for people."""
        return self._address.name

    @contextlib.contextmanager
    def reading_paused(self) -> Iterator[None]:
        """Within, bytes stay in the kernel and wake nobody."""
        writer = self._connection._writer
        if writer is None or writer.is_closing():
            yield
            return
        transport = cast("asyncio.ReadTransport", writer.transport)
        transport.pause_reading()
        try:
            yield
        finally:
            if not writer.is_closing():
                transport.resume_reading()

    async def send(self, commands: Iterable[Command]) -> None:
        """Send without waiting for the answers: fetch each with ``receive``."""
        if not self._connection.is_connected:  # redis-py would silently connect anew
            raise LinkError(f"{self._address.name} closed the connection")
        commands = list(commands)
        packed = self._connection.pack_commands(commands)
        try:
            async with asyncio.timeout(self._timeout):
                await self._connection.send_packed_command(packed, check_health=False)
        except Exception as error:
            raise LinkError(_words(error, self._address, self._timeout)) from None
        self._awaited += len(commands)

    async def receive(self) -> Any:
        """The next answer; a Refusal is an answer too and is returned, not raised."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._connection.read_response(disconnect_on_error=False)
        except redis_parts().exceptions.ResponseError as error:
            answer = _refusal(error, self._address)
        except Exception as error:
            raise LinkError(_words(error, self._address, self._timeout)) from None
        self._awaited -= 1
        return answer

    async def execute(self, commands: Iterable[Command]) -> list[Any]:
        """All answers, in order; a Refusal stands where the server refused."""
        await self.send(commands)
        return [await self.receive() for _ in range(self._awaited)]

    async def ping(self) -> float:
        """Milliseconds of one round trip."""
        started = time.monotonic()
        await self.execute([("PING",)])
        return (time.monotonic() - started) * 1000

    async def close(self) -> None:
        """Close at once; never raises."""
        with contextlib.suppress(Exception):
            await self._connection.disconnect(nowait=True)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    try:
        shortened = socket_address(path)
        address = shortened.__enter__()
    except OSError as error:
        raise LinkError(f"no server listens on {path.name}: {error.strerror}") from None
    with contextlib.ExitStack() as stack:
        stack.push(shortened)
        yield address


def _refusal(error: Exception, address: ServerAddress) -> Refusal:
    # redis-py strips the first word of the errors that it has a class for.
    text = str(error)
    codes = {
        "AuthenticationError": "WRONGPASS",
        "NoPermissionError": "NOPERM",
        "OutOfMemoryError": "OOM",
        "ReadOnlyError": "READONLY",
        "NoScriptError": "NOSCRIPT",
        "ExecAbortError": "EXECABORT",
    }
    code = codes.get(type(error).__name__) or text.partition(" ")[0]
    if text.startswith("NOAUTH") or "Authentication required" in text:
        code = "NOAUTH"
    return Refusal(_spoken(code, text, address), code)


def _spoken(code: str, text: str, address: ServerAddress) -> str:
    if known := _KNOWN_REPLIES.get(code):
        return f"{address.name} {known}"
    return scrub(f"{address.name} answered: {text}", address.secrets)


def _words(error: Exception, address: ServerAddress, timeout: float) -> str:
    exceptions = redis_parts().exceptions
    if isinstance(error, LinkError):
        return error.message
    if isinstance(error, (TimeoutError, exceptions.TimeoutError)):
        return f"{address.name} did not answer within {timeout:g} s"
    if isinstance(error, exceptions.BusyLoadingError):
        return _spoken("LOADING", "", address)
    if isinstance(error, (exceptions.AuthenticationError, exceptions.ResponseError)):
        return _refusal(error, address).message
    text = scrub(str(error), address.secrets)
    if "Connection refused" in text or "[Errno 111]" in text or "Error 111" in text:
        return f"{address.name} refused the connection: no server listens there"
    if "No such file" in text:
        return f"{address.name}: there is no such socket"
    if not text or "Connection closed by server" in text:
        return f"{address.name} closed the connection"
    return scrub(f"{address.name}: {text}", address.secrets)
