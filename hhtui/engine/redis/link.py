"""One way to a Redis server, with redis-py: opened once, pipelined, and closed at the first doubt.

Its own retries stay off: when to try again is the bridge's decision alone. RESP2 is spoken, which every server since
2.6 knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from hhtui.engine.redis.address import ServerAddress, scrub
from hhtui.errors import HomeHelperError
from hhtui.paths import socket_address

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

Command = Sequence[bytes | str | int | float]

# Options of a Redis URL that are ours to decide.
_OURS = frozenset(
    {
        "decode_responses",
        "health_check_interval",
        "max_connections",
        "protocol",
        "retry_on_timeout",
        "socket_connect_timeout",
        "socket_timeout",
        "timeout",
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
# redis-py strips the first word of the errors that it has a class for.
_CODES = {
    "AuthenticationError": "WRONGPASS",
    "BusyLoadingError": "LOADING",
    "ExecAbortError": "EXECABORT",
    "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
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
    """An open, authenticated client. One task at a time may use it."""

    def __init__(
        self, client: Redis, address: ServerAddress, timeout: float, held: contextlib.ExitStack | None = None
    ) -> None:
        self._client = client
        self._address = address
        self._timeout = timeout
        self._held = held or contextlib.ExitStack()
        self._id: Any = None

    @classmethod
    async def open(cls, address: ServerAddress, *, timeout: float) -> Self:
        """Connect, authenticate, select the database and see a PONG, all within ``timeout`` seconds.

        ``timeout`` later bounds each wait for an answer, too. Raises LinkError.
        """
        # Takes 0.1 s the first time, on a small board a second: not in the loop.
        asynchronous = await asyncio.get_running_loop().run_in_executor(None, import_module, "redis.asyncio")
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        with _errors(address, timeout), contextlib.ExitStack() as stack:
            client = asynchronous.Redis.from_url(
                stack.enter_context(_short_url(address)),
                protocol=2,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
            )
            # What makes a long path short is needed for every further connection, too.
            link = cls(client, address, timeout, stack.pop_all())
            try:
                async with asyncio.timeout(timeout):
                    await client.ping()
            except BaseException:
                await link.close()
                raise
        return link

    @property
    def name(self) -> str:
        """The server, for people."""
        return self._address.name

    async def execute(self, commands: Iterable[Command]) -> list[Any]:
        """All answers, in order, as redis-py reads them; a Refusal where the server refused. Raises LinkError."""
        from redis.exceptions import ResponseError

        with _errors(self._address, self._timeout):
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            answers = await pipeline.execute(raise_on_error=False)
        return [_refusal(a, self._address) if isinstance(a, ResponseError) else a for a in answers]

    async def ping(self) -> float:
        """Milliseconds of one round trip; LinkError also if redis-py has silently connected anew meanwhile."""
        started = time.monotonic()
        (number,) = await self.execute([("CLIENT", "ID")])
        if self._id is None and not isinstance(number, Refusal):
            self._id = number
        elif number != self._id and not isinstance(number, Refusal):
            raise LinkError(f"{self.name} closed the connection")
        return (time.monotonic() - started) * 1000

    async def listen(self, pattern: str, *further: str) -> PubSub:
        """Subscribe to the channels that match the patterns; from here on no message is missed. Raises LinkError.

        Where the server's rules do not let us see ``further`` ones, the first alone is subscribed to.
        """
        from redis.exceptions import NoPermissionError

        patterns = (pattern, *further)
        with _errors(self._address, self._timeout):
            pubsub: PubSub = self._client.pubsub()
            await pubsub.psubscribe(*patterns)
            try:
                confirmed = [await pubsub.get_message(timeout=self._timeout) for _ in patterns]
            except NoPermissionError:
                await pubsub.aclose()  # type: ignore[no-untyped-call]
                if not further:
                    raise
                return await self.listen(pattern)
        if None in confirmed:
            raise LinkError(f"{self.name} did not answer within {self._timeout:g} s")
        return pubsub

    async def next_message(self, pubsub: PubSub, within: float) -> tuple[bytes, bytes] | None:
        """Channel and payload of the next message, ``(b"", b"")`` for any other answer, None without one in time."""
        with _errors(self._address, self._timeout):
            message = await pubsub.get_message(timeout=within)
        if message is None:
            return None
        return (message["channel"], message["data"]) if message["type"] == "pmessage" else (b"", b"")

    async def ask_for_a_sign(self, pubsub: PubSub) -> None:
        """Have the server answer something to a subscriber."""
        with _errors(self._address, self._timeout):
            await pubsub.ping()

    async def close(self) -> None:
        """Close at once; never raises."""
        with self._held, contextlib.suppress(Exception):
            await self._client.aclose()


@contextlib.contextmanager
def _errors(address: ServerAddress, timeout: float) -> Iterator[None]:
    """What redis-py raises as a LinkError."""
    try:
        yield
    except (LinkError, asyncio.CancelledError):
        raise
    except Exception as error:
        raise _translated(error, address, timeout) from None


@contextlib.contextmanager
def _short_url(address: ServerAddress) -> Iterator[str]:
    """The address's URL without what is not for its writer to decide, and with a path that fits a socket's address."""
    parts = urlsplit(address.url)
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name not in _OURS])
    if address.socket is None:
        yield urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
        return
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(socket_address(address.socket))
        except OSError as error:
            raise LinkError(f"no server listens on {address.socket.name}: {error.strerror}") from None
        yield urlunsplit((parts.scheme, parts.netloc, quote(path), query, ""))


def _refusal(error: Exception, address: ServerAddress) -> Refusal:
    text = str(error)
    first = text.partition(" ")[0]
    # A server's codes are in capitals; redis-py strips the general one, ERR.
    code = _CODES.get(type(error).__name__) or (first if first.isupper() else "ERR")
    # redis-py has one class for both; who gives no password cannot have given a wrong one.
    if code == "WRONGPASS" and address.password is None:
        code = "NOAUTH"
    if known := _KNOWN_REPLIES.get(code):
        return Refusal(f"{address.name} {known}", code)
    return Refusal(scrub(f"{address.name} answered: {text}", address.secrets), code)


def _translated(error: Exception, address: ServerAddress, timeout: float) -> LinkError:
    from redis import exceptions

    if isinstance(error, (TimeoutError, exceptions.TimeoutError)):
        return LinkError(f"{address.name} did not answer within {timeout:g} s")
    if isinstance(error, (exceptions.AuthenticationError, exceptions.BusyLoadingError, exceptions.ResponseError)):
        return _refusal(error, address)
    # redis-py raises its own error in the handling of the operating system's; without one, the server closed.
    causes = [cause for cause in (error.__cause__, error.__context__, error) if isinstance(cause, OSError)]
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return LinkError(f"{address.name} refused the connection: no server listens there")
    if any(isinstance(cause, FileNotFoundError) for cause in causes):
        return LinkError(f"{address.name}: there is no such socket")
    closed = not causes and type(error) is exceptions.ConnectionError
    if closed or any(isinstance(cause, ConnectionError) for cause in causes):
        return LinkError(f"{address.name} closed the connection")
    return LinkError(scrub(f"{address.name}: {str(error) or type(error).__name__}", address.secrets))


@dataclass(frozen=True, slots=True)
class Timings:
    """All in seconds; tests make them short."""

    answer: float = 5.0  # how long one answer may take before the connection counts as lost
    ping: float = 15.0  # an idle connection is tried this often
    check_keys: float = 60.0  # whether somebody flushed the keys
    coalesce: float = 0.25  # changes of keys are written together
    refused: float = 30.0  # a refused write is tried again
    first_pause: float = 0.5  # between attempts to connect, doubling, with jitter
    longest_pause: float = 30.0
    choose: float = 1.5  # how long the configured server may take to answer at the start
    grace: float = 20.0  # how long a configured server that was used before is waited for
    start: float = 3.0  # how long start() may take
    farewell: float = 1.0  # how long stop() tries to deliver what is left
