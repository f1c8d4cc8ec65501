"""The API's client for commands: blocking, and quick to import."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hhtui.client import wire
from hhtui.errors import HomeHelperError
from hhtui.paths import socket_address

TIMEOUT_SECONDS = 10.0
# An engine that reloads in place, or has just been started, refuses for some milliseconds.
_RETRY_SECONDS = 0.3

Document = dict[str, Any]


class EngineClient:
    """One home's engine behind ``socket_path``.

    Every method raises NoEngineError if none runs, UnknownAppError, ConflictError or InvalidInputError as the engine
    answers, and EngineSilentError if it does not answer within ``timeout`` seconds.
    """

    # Whether its process ids are this machine's.
    is_local = True

    def __init__(self, socket_path: Path, timeout: float = TIMEOUT_SECONDS) -> None:
        self.socket_path = socket_path
        self.timeout = timeout

    def health(self) -> Document:
        """``{health, message, version, pid, uptime_seconds}``."""
        return self._object("GET", "/health")

    def engine(self) -> Document:
        """EngineInfo."""
        return self._object("GET", "/api/v1/engine")

    def apps(self) -> list[Document]:
        """Every AppRecord."""
        return self._list("GET", "/api/v1/apps")

    def app(self, app_id: str) -> Document:
        """One AppRecord."""
        return self._object("GET", wire.app_path(app_id))

    def command(self, app_id: str, verb: str, wait: float | None = None, correlation_id: str | None = None) -> Document:
        """Ask for ``verb``; with ``wait`` the record is the settled one, or the one after so many seconds."""
        return self._object(
            "POST",
            wire.target(f"{wire.app_path(app_id)}/{verb}", {"wait": wait}),
            headers={"X-Correlation-ID": correlation_id} if correlation_id else None,
            timeout=self.timeout + (wait or 0),
        )

    def logs(self, app_id: str) -> list[Document]:
        """Every LogFile of an app, or of ``homehelper`` or ``system``."""
        return self._list("GET", f"{wire.app_path(app_id)}/logs")

    def log_page(self, app_id: str, name: str, **query: Any) -> Document:
        """A LogPage; ``query`` is LogQuery's fields."""
        path = f"{wire.app_path(app_id)}/logs/{wire.quote(name)}"
        return self._object("GET", wire.target(path, query), timeout=60)

    def app_processes(self, app_id: str) -> list[Document]:
        """Every AppProcess of the app's tree."""
        return self._list("GET", f"{wire.app_path(app_id)}/processes")

    def app_sizes(self, app_id: str, wait: float | None = None) -> Document:
        """AppSizes, waiting at most ``wait`` seconds for what has to be counted."""
        target = wire.target(f"{wire.app_path(app_id)}/sizes", {"wait": wait})
        return self._object("GET", target, timeout=self.timeout + (wait or 0))

    def metrics(self) -> Document:
        """SystemMetrics."""
        return self._object("GET", "/api/v1/system/metrics")

    def metrics_history(self, since: str | None = None, points: int | None = None) -> list[Document]:
        """Every MetricsPoint since an age (``1h``) or an ISO time, the last hour's without."""
        query = {"since": since, "points": points}
        return self._list("GET", wire.target("/api/v1/system/metrics/history", query))

    def alerts(self) -> list[Document]:
        """Every Alert that is up."""
        return self._list("GET", "/api/v1/alerts")

    def redis(self) -> Document:
        """RedisStatus."""
        return self._object("GET", "/api/v1/system/redis")

    def config(self) -> Document:
        """ConfigView."""
        return self._object("GET", "/api/v1/config")

    def patch_config(self, patch: Mapping[str, Any]) -> Document:
        """Apply a JSON merge patch; the new ConfigView."""
        return self._object("PATCH", "/api/v1/config", body=dict(patch))

    def backups(self) -> Document:
        """BackupStatus."""
        return self._object("GET", "/api/v1/backups")

    def back_up(self, order: Mapping[str, Any]) -> Document:
        """Begin a backup; ``order`` is BackupRequest's fields. The BackupJob."""
        return self._object("POST", "/api/v1/backups", body=dict(order))

    def prove_backup(self, order: Mapping[str, Any]) -> Document:
        """Begin a test restore of ``file``, else of the newest backup. The BackupJob."""
        return self._object("POST", "/api/v1/backups/prove", body=dict(order))

    def restore(self, order: Mapping[str, Any]) -> Document:
        """Begin a restore or its check; ``order`` is RestoreRequest's fields. The BackupJob."""
        return self._object("POST", "/api/v1/restore", body=dict(order))

    def stop_engine(self, keep_apps: bool = False) -> Document:
        """Ask the engine to end; it answers before it does."""
        return self._object("POST", "/api/v1/engine/stop", body={"keep_apps": keep_apps})

    def reload_engine(self) -> Document:
        """Ask the engine to reload in place; it answers before it does."""
        return self._object("POST", "/api/v1/engine/reload")

    def runs(self) -> bool:
        """Whether something listens; what it is shows with the first request."""
        try:
            wire.close_quietly(self._connect(1.0))
        except OSError:
            return False
        return True

    def events(self, channel: str | None = None, after: str | None = None, *, follow: bool = True) -> EventReader:
        """The event stream, subscribed when this returns: nothing that is caused afterwards can be missed.

        Messages from ``after`` on if given; without ``follow`` those that are kept, and it ends.
        """
        query = {"channel": channel, "after": after, "follow": None if follow else "0"}
        path = wire.target("/api/v1/events", query)
        connection = self._sent(wire.request_bytes("GET", path, accept="text/event-stream"), self.timeout)
        try:
            status, headers, rest = self._read_head(connection)
            if status >= 400:
                wire.parse_body(status, headers, rest + self._read_rest(connection))
        except OSError as error:
            wire.close_quietly(connection)
            raise wire.connection_error(self.socket_path, error) from None
        except HomeHelperError:
            wire.close_quietly(connection)
            raise
        return EventReader(connection, rest)

    def _object(self, method: str, path: str, **more: Any) -> Document:
        answer = self._ask(method, path, **more)
        if not isinstance(answer, dict):
            raise wire.EngineSilentError(f"the engine's answer to {method} {path} is not the object it must be")
        return answer

    def _list(self, method: str, path: str) -> list[Document]:
        answer = self._ask(method, path)
        if not isinstance(answer, list):
            raise wire.EngineSilentError(f"the engine's answer to {method} {path} is not the list it must be")
        return [item for item in answer if isinstance(item, dict)]

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Any:
        request = wire.request_bytes(method, path, body, headers)
        seconds = timeout or self.timeout
        try:
            return self._exchange(request, seconds)
        except wire.EngineGoneError:
            # An engine that reloads in place closes what it has not answered; to read twice does no harm.
            if method != "GET":
                raise
            return self._exchange(request, seconds)

    def _exchange(self, request: bytes, seconds: float) -> Any:
        connection = self._sent(request, seconds)
        try:
            status, answer_headers, rest = self._read_head(connection)
            return wire.parse_body(status, answer_headers, rest + self._read_rest(connection))
        except TimeoutError:
            raise wire.silent(self.socket_path, seconds) from None
        except OSError as error:
            raise wire.connection_error(self.socket_path, error) from None
        finally:
            wire.close_quietly(connection)

    def _sent(self, request: bytes, seconds: float) -> socket.socket:
        give_up = time.monotonic() + _RETRY_SECONDS
        while True:
            try:
                connection = self._connect(seconds)
                break
            except ConnectionRefusedError as error:
                if time.monotonic() >= give_up:
                    raise wire.connection_error(self.socket_path, error) from None
                time.sleep(0.02)
            except TimeoutError:
                raise wire.silent(self.socket_path, seconds) from None
            except OSError as error:
                raise wire.connection_error(self.socket_path, error) from None
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the engine refused early; its answer tells why
        except OSError as error:
            wire.close_quietly(connection)
            raise wire.connection_error(self.socket_path, error) from None
        return connection

    def _connect(self, seconds: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(seconds)
            with socket_address(self.socket_path) as address:
                connection.connect(address)
        except BlockingIOError:
            # A full queue of connections on a socket with a timeout: the engine accepts none.
            wire.close_quietly(connection)
            raise TimeoutError from None
        except BaseException:
            wire.close_quietly(connection)
            raise
        return connection

    def _read_head(self, connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = connection.recv(65536)
            if not chunk:
                raise wire.EngineGoneError("the engine ended before it answered; try again")
            data += chunk
            if len(data) > wire.MAX_HEAD_BYTES and b"\r\n\r\n" not in data:
                raise wire.EngineSilentError("what listens on the engine's socket is no engine")
        head, _, rest = data.partition(b"\r\n\r\n")
        status, headers = wire.parse_head(head)
        return status, headers, rest

    @staticmethod
    def _read_rest(connection: socket.socket) -> bytes:
        chunks = []
        size = 0
        while chunk := connection.recv(262144):
            chunks.append(chunk)
            size += len(chunk)
            if size > wire.MAX_BODY_BYTES:
                raise wire.EngineSilentError("the engine's answer is too large")
        return b"".join(chunks)


class EventReader:
    """An open event stream: iterate it, or ``take`` what comes within some seconds; ``close`` it."""

    def __init__(self, connection: socket.socket, first: bytes) -> None:
        self._connection = connection
        self._parser = wire.EventParser()
        self._ready = self._parser.feed(first)
        self.ended = False

    @property
    def last_id(self) -> str | None:
        """The id of the newest message read, to resume after."""
        return self._parser.last_id

    def fileno(self) -> int:
        return self._connection.fileno()

    def take(self, seconds: float | None = None) -> list[Document]:
        """What is there, waiting up to ``seconds`` (None: as long as it takes) for the first; sets ``ended``."""
        if self._ready or self.ended:
            ready, self._ready = self._ready, []
            return ready
        try:
            self._connection.settimeout(seconds)
            data = self._connection.recv(262144)
        except (TimeoutError, BlockingIOError):
            return []
        except OSError:
            data = b""
        if not data:
            self.ended = True
        return self._parser.feed(data)

    def close(self) -> None:
        wire.close_quietly(self._connection)
        self.ended = True

    def __iter__(self) -> Iterator[Document]:
        while not self.ended:
            yield from self.take()

    def __enter__(self) -> EventReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
