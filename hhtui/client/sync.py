"""The API's client for commands: blocking, http.client over the engine's Unix socket."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from hhtui.client import wire
from hhtui.client.wire import TIMEOUT_SECONDS, Call, Document, call
from hhtui.model import operations
from hhtui.paths import socket_address

# An engine that reloads in place, or has just been started, refuses for some milliseconds.
_RETRY_SECONDS = 0.3
_CHUNK = 256 * 1024
# Where others have to be served first.
_BUSY_PAUSE = 0.05


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

    @property
    def place(self) -> str:
        """Where the engine is, for people."""
        return f"at {self.socket_path}"

    def health(self) -> Document:
        """``{health, message, version, pid, uptime_seconds}``."""
        return self._object(call(operations.HEALTH))

    def engine(self) -> Document:
        """EngineInfo."""
        return self._object(call(operations.ENGINE))

    def apps(self) -> list[Document]:
        """Every AppRecord, sorted by app_id."""
        return self._list(call(operations.APPS))

    def app(self, app_id: str) -> Document:
        """One AppRecord."""
        return self._object(call(operations.APP, app_id))

    def command(self, app_id: str, verb: str, wait: float | None = None, correlation_id: str | None = None) -> Document:
        """Ask for ``verb``; with ``wait`` the record is the settled one, or the one after so many seconds."""
        operation = operations.COMMANDS[verb]
        return self._object(call(operation, app_id, query={"wait": wait}, correlation_id=correlation_id))

    def logs(self, app_id: str) -> list[Document]:
        """Every LogFile of an app, or of ``homehelper`` or ``system``."""
        return self._list(call(operations.LOGS, app_id))

    def log_page(
        self, app_id: str, name: str, *, progress: Callable[[int, int], None] | None = None, **query: Any
    ) -> Document:
        """A LogPage; ``query`` is LogQuery's fields. ``progress(done, total)`` is called with how far a search is."""
        if progress is None or not query.get("search"):
            return self._object(call(operations.LOG_PAGE, app_id, name, query=query, seconds=wire.LOG_PAGE_SECONDS))
        asked = call(operations.LOG_PAGE, app_id, name, query={**query, "progress": True})
        with self._connection(self.timeout) as connection:
            response = self._response(connection, asked)
            if not response.getheader("content-type", "").startswith(wire.JSON_LINES):
                return wire.as_object(asked, _document(response))
            page = None
            while page is None:
                page = wire.search_answer(response.readline(), progress)
        return wire.as_object(asked, page)

    def app_steps(self, app_id: str) -> list[Document]:
        """Every AppStep that is kept of the app, the oldest first."""
        return self._list(call(operations.APP_STEPS, app_id))

    def app_processes(self, app_id: str) -> list[Document]:
        """Every AppProcess of the app's tree."""
        return self._list(call(operations.APP_PROCESSES, app_id))

    def app_sizes(self, app_id: str, wait: float | None = None) -> Document:
        """AppSizes, waiting at most ``wait`` seconds for what has to be counted."""
        return self._object(call(operations.APP_SIZES, app_id, query={"wait": wait}))

    def metrics(self) -> Document:
        """SystemMetrics."""
        return self._object(call(operations.METRICS))

    def metrics_history(self, since: str | None = None, points: int | None = None) -> list[Document]:
        """Every MetricsPoint since an age (``1h``) or an ISO time, the last hour's without."""
        return self._list(call(operations.METRICS_HISTORY, query={"since": since, "points": points}))

    def alerts(self) -> list[Document]:
        """Every Alert that is up."""
        return self._list(call(operations.ALERTS))

    def redis(self) -> Document:
        """RedisStatus."""
        return self._object(call(operations.REDIS))

    def sandbox(self) -> Document:
        """SandboxStatus."""
        return self._object(call(operations.SANDBOX))

    def config(self) -> Document:
        """ConfigView."""
        return self._object(call(operations.CONFIG))

    def patch_config(self, patch: Mapping[str, Any]) -> Document:
        """Apply a JSON merge patch; the new ConfigView."""
        return self._object(call(operations.CHANGE_CONFIG, body=patch))

    def jobs(self) -> list[Document]:
        """Every AppJob that runs, and the last that ended."""
        return self._list(call(operations.JOBS))

    def confirm_job(self, job_id: str) -> Document:
        """Have a job do what its preview shows; the AppJob."""
        return self._object(call(operations.CONFIRM_JOB, name=job_id))

    def cancel_job(self, job_id: str) -> Document:
        """Cancel a job; the AppJob."""
        return self._object(call(operations.CANCEL_JOB, name=job_id))

    def update_app(self, app_id: str, order: Mapping[str, Any]) -> Document:
        """Begin an update; ``order`` is UpdateRequest's fields. The AppJob."""
        return self._object(call(operations.UPDATE, app_id, body=order))

    def roll_back_app(self, app_id: str, order: Mapping[str, Any]) -> Document:
        """Begin to go back to an earlier revision; ``order`` is RollbackRequest's fields. The AppJob."""
        return self._object(call(operations.ROLLBACK, app_id, body=order))

    def revisions(self, app_id: str) -> list[Document]:
        """Every Revision that is kept of an app, the newest first."""
        return self._list(call(operations.REVISIONS, app_id))

    def updates(self) -> list[Document]:
        """Every UpdateAvailable, as it was last looked for."""
        return self._list(call(operations.UPDATES))

    def look_for_updates(self, app_ids: Sequence[str] = ()) -> list[Document]:
        """The same, looked for now: of these apps, or of all."""
        body = {"apps": list(app_ids)} if app_ids else {}
        return self._list(call(operations.LOOK_FOR_UPDATES, body=body, seconds=wire.FETCHING_SECONDS))

    def app_settings(self, app_id: str) -> Document:
        """AppSettings."""
        return self._object(call(operations.APP_SETTINGS, app_id))

    def change_app_settings(
        self, app_id: str, patch: Mapping[str, Any], none: Sequence[str] = (), *, only_check: bool = False
    ) -> Document:
        """Apply a JSON merge patch to what an app's owner has set, or only check it; the new AppSettings.

        ``none`` are keys that are to have no value whatever the author says.
        """
        query = {"check": only_check, "none": ",".join(none) or None}
        return self._object(call(operations.CHANGE_APP_SETTINGS, app_id, query=query, body=patch))

    def gateway(self) -> Document:
        """GatewayStatus."""
        return self._object(call(operations.GATEWAY))

    def switch_gateway(self, order: Mapping[str, Any], wait: float | None = None) -> Document:
        """Turn it on or off; ``order`` is GatewaySwitch's fields. The GatewayStatus, after so many seconds at most."""
        return self._object(call(operations.SWITCH_GATEWAY, query={"wait": wait}, body=order))

    def set_gateway_password(self, password: str | None) -> Document:
        """Set the password of the gateway's login, or remove it; the GatewayStatus."""
        return self._object(call(operations.GATEWAY_PASSWORD, body={"password": password}))

    def secrets(self) -> list[Document]:
        """Every SecretInfo."""
        return self._list(call(operations.SECRETS))

    def change_secrets(self, changes: Mapping[str, str | None]) -> list[Document]:
        """Set secrets, or remove those whose value is None; the SecretInfo of each that changed."""
        return self._list(call(operations.CHANGE_SECRETS, body=changes))

    def removal(self, app_id: str) -> Document:
        """The Removal of an app: what would go."""
        return self._object(call(operations.REMOVAL, app_id, seconds=wire.MEASURING_SECONDS))

    def remove_app(self, app_id: str, order: Mapping[str, Any]) -> Document:
        """Begin to remove an app; ``order`` is RemoveRequest's fields. The AppJob."""
        return self._object(call(operations.REMOVE_APP, app_id, body=order))

    def trash(self) -> list[Document]:
        """Every TrashEntry, the newest first."""
        return self._list(call(operations.TRASH))

    def bring_back(self, name: str) -> Document:
        """Begin to bring a removed app back, by its id or its entry's name. The AppJob."""
        return self._object(call(operations.BRING_BACK, name=name))

    def upload(self, chunks: Iterable[bytes]) -> Document:
        """Send an archive, or a folder as a tar archive; ``{upload, bytes}`` for ``add_app``."""
        return self._send(call(operations.UPLOAD, seconds=wire.UPLOAD_SECONDS), chunks)

    def _send(self, asked: Call, chunks: Iterable[bytes]) -> Document:
        with self._connection(asked.seconds) as connection:
            return wire.as_object(asked, _document(self._response(connection, asked, chunks)))

    def add_app(self, order: Mapping[str, Any]) -> Document:
        """Begin to add an app; ``order`` is AddRequest's fields. The AppJob."""
        return self._object(call(operations.ADD_APP, body=order))

    def ssh_key(self) -> str:
        """The engine's own public key for git over ssh."""
        return str(self._object(call(operations.SSH_KEY, seconds=wire.UPLOAD_SECONDS)).get("public_key") or "")

    def move_plan(self, app_id: str) -> Document:
        """MovePlan: what moving an app to another home would take along."""
        return self._object(call(operations.MOVE_PLAN, app_id, seconds=wire.MEASURING_SECONDS))

    def leave(self, app_id: str, order: Mapping[str, Any]) -> Document:
        """Begin to move an app away; ``order`` is LeaveRequest's fields. The MoveState."""
        return self._object(call(operations.LEAVE, app_id, body=order, seconds=wire.MEASURING_SECONDS))

    def arrive(self, order: Mapping[str, Any]) -> Document:
        """Begin to take an app in, or check that; ``order`` is ArriveRequest's fields. The MoveState."""
        return self._object(call(operations.ARRIVE, body=order))

    def move(self, token: str) -> Document:
        """MoveState: how far a move is."""
        return self._object(call(operations.MOVE, name=token))

    def hold_move(self, token: str, beats: Iterable[bytes]) -> Document:
        """Lead a move for as long as ``beats`` come; the MoveState at its end."""
        return self._send(call(operations.HOLD_MOVE, name=token), beats)

    def pack_move(self, token: str, order: Mapping[str, Any]) -> Iterator[bytes]:
        """The stream of an app's files; ``order`` is PackRequest's fields. EngineSilentError if it is cut short."""
        asked = call(operations.PACK_MOVE, name=token, body=order, seconds=wire.UPLOAD_SECONDS)
        with self._connection(self.timeout + asked.seconds) as connection:
            response = self._response(connection, asked)
            if response.status >= 400:
                _document(response)
            while data := response.read(_CHUNK):
                yield data

    def unpack_move(self, token: str, part: str, chunks: Iterable[bytes]) -> Document:
        """Send that stream on; the MoveState once it is written and verified."""
        asked = call(operations.UNPACK_MOVE, name=token, query={"part": part}, seconds=wire.MOVING_SECONDS)
        return self._send(asked, chunks)

    def step_move(self, token: str, step: str, *, ran: bool = False, wait: float | None = None) -> Document:
        """Do the next step of a move, or say how one ends that was broken off; the MoveState."""
        return self._object(
            call(operations.STEP_MOVE, name=token, query={"wait": wait}, body={"step": step, "ran": ran})
        )

    def catalogs(self) -> list[Document]:
        """Every Catalog."""
        return self._list(call(operations.CATALOGS))

    def catalog_apps(self, search: str = "") -> list[Document]:
        """Every CatalogApp that has all words of ``search``."""
        return self._list(call(operations.CATALOG_APPS, query={"search": search}))

    def add_catalog(self, order: Mapping[str, Any]) -> Document:
        """Begin to look at a new catalogue; ``order`` is CatalogRequest's fields. The AppJob."""
        return self._object(call(operations.ADD_CATALOG, body=order))

    def update_catalog(self, name: str) -> Document:
        """Begin to look at a catalogue anew; the AppJob."""
        return self._object(call(operations.UPDATE_CATALOG, name=name))

    def remove_catalog(self, name: str) -> Document:
        """Forget a catalogue; the Catalog that it was."""
        return self._object(call(operations.REMOVE_CATALOG, name=name))

    def backups(self) -> Document:
        """BackupStatus."""
        return self._object(call(operations.BACKUPS))

    def back_up(self, order: Mapping[str, Any]) -> Document:
        """Begin a backup; ``order`` is BackupRequest's fields. The BackupJob."""
        return self._object(call(operations.BACK_UP, body=order))

    def prove_backup(self, order: Mapping[str, Any]) -> Document:
        """Begin a test restore of ``file``, else of the newest backup. The BackupJob."""
        return self._object(call(operations.PROVE_BACKUP, body=order))

    def restore(self, order: Mapping[str, Any]) -> Document:
        """Begin a restore or its check; ``order`` is RestoreRequest's fields. The BackupJob."""
        return self._object(call(operations.RESTORE, body=order))

    def stop_engine(self, keep_apps: bool = False) -> Document:
        """Ask the engine to end; it answers before it does."""
        return self._object(call(operations.STOP_ENGINE, body={"keep_apps": keep_apps}))

    def reload_engine(self) -> Document:
        """Ask the engine to reload in place; it answers before it does."""
        return self._object(call(operations.RELOAD_ENGINE))

    def runs(self) -> bool:
        """Whether something listens; what it is shows with the first request."""
        connection = _UnixConnection(self.socket_path, 1.0)
        try:
            connection.connect()
        except OSError:
            return False
        finally:
            connection.close()
        return True

    def events(self, channel: str | None = None, after: str | None = None, *, follow: bool = True) -> EventReader:
        """The event stream, subscribed when this returns: nothing that is caused afterwards can be missed.

        Messages from ``after`` on if given; without ``follow`` those that are kept, and it ends.
        """
        query = {"channel": channel, "after": after, "follow": None if follow else "0"}
        connection = _UnixConnection(self.socket_path, self.timeout)
        try:
            with self._in_words(self.timeout):
                response = self._response(connection, call(operations.EVENTS, query=query))
                if response.status >= 400:
                    _document(response)
            return EventReader(connection, response)
        except BaseException:
            connection.close()
            raise

    def _object(self, asked: Call) -> Document:
        return wire.as_object(asked, self._ask(asked))

    def _list(self, asked: Call) -> list[Document]:
        return wire.as_list(asked, self._ask(asked))

    def _ask(self, asked: Call) -> Any:
        seconds = self.timeout + asked.seconds
        give_up = time.monotonic() + seconds
        while True:
            try:
                return self._exchange(asked, seconds)
            except wire.EngineGoneError:
                # An engine that reloads in place, or that has too many clients, closes what it has not answered.
                if not asked.only_reads or time.monotonic() >= give_up:
                    raise
            except wire.EngineBusyError:
                if time.monotonic() >= give_up:
                    raise
            time.sleep(_BUSY_PAUSE)

    def _exchange(self, asked: Call, seconds: float) -> Any:
        with self._connection(seconds) as connection:
            return _document(self._response(connection, asked))

    @contextlib.contextmanager
    def _connection(self, seconds: float) -> Iterator[_UnixConnection]:
        """A connection for one request, closed whatever comes, so that a search that nobody waits for ends."""
        with contextlib.closing(_UnixConnection(self.socket_path, seconds)) as connection, self._in_words(seconds):
            yield connection

    @contextlib.contextmanager
    def _in_words(self, seconds: float) -> Iterator[None]:
        """What goes wrong with a connection is raised as an error of ours."""
        try:
            yield
        except TimeoutError:
            raise wire.silent(self.place, seconds) from None
        except OSError as error:
            raise wire.connection_error(self.socket_path, error) from None
        except HTTPException:
            raise wire.EngineSilentError(wire.CUT_SHORT) from None

    def _response(
        self, connection: _UnixConnection, asked: Call, chunks: Iterable[bytes] | None = None
    ) -> HTTPResponse:
        """The answer's head, its body still to be read; ``chunks`` are what is sent where that is no JSON."""
        self._connect(connection)
        data = chunks if chunks is not None else None if asked.body is None else json.dumps(asked.body)
        try:
            # Where the engine refuses early, its answer says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(asked.operation.method, asked.target, data, dict(asked.headers))
            return connection.getresponse()
        except OSError:
            raise  # an engine that hung up is both
        except HTTPException:
            raise wire.EngineSilentError(wire.NO_ENGINE) from None

    def _connect(self, connection: _UnixConnection) -> None:
        give_up = time.monotonic() + _RETRY_SECONDS
        while True:
            try:
                connection.connect()
                return
            except ConnectionRefusedError as error:
                if time.monotonic() >= give_up:
                    raise wire.connection_error(self.socket_path, error) from None
                time.sleep(0.02)
            except (TimeoutError, BlockingIOError):
                raise wire.silent(self.place, connection.seconds) from None
            except OSError as error:
                raise wire.connection_error(self.socket_path, error) from None


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket; ``seconds`` bounds the connecting and each read and write."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("hh", timeout=seconds)
        self.seconds = seconds
        self._path = path

    def connect(self) -> None:
        """OSError as connect(2) has it, BlockingIOError if it takes too long."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # unix(7): where the listener's queue is full, a socket that may block waits its turn, for this long; one
            # with Python's timeout would fail at once.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", max(int(self.seconds), 1), 0))
            with socket_address(self._path) as address:
                self.sock.connect(address)
            self.sock.settimeout(self.seconds)
        except BaseException:
            self.close()
            raise


def _document(response: HTTPResponse) -> Any:
    """The answer's JSON document, or its text if it is none; an error is raised as such."""
    body = response.read(wire.MAX_BODY_BYTES + 1)
    if len(body) > wire.MAX_BODY_BYTES:
        raise wire.EngineSilentError("the engine's answer is too large")
    return wire.parse_body(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


class EventReader:
    """An open event stream: iterate it, or ``take`` what comes within some seconds; ``close`` it."""

    def __init__(self, connection: HTTPConnection, response: HTTPResponse) -> None:
        self._connection = connection
        self._socket = connection.sock
        self._response = response
        self._parser = wire.EventParser()
        self.ended = False
        # Not settimeout: after one time-out the response's file refuses to read on.
        self._socket.settimeout(None)

    @property
    def last_id(self) -> str | None:
        """The id of the newest message read, to resume after."""
        return self._parser.last_id

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self, seconds: float | None = None) -> list[Document]:
        """What is there, waiting up to ``seconds`` (None: as long as it takes) for the first; sets ``ended``."""
        while not self.ended and (self._holds_bytes() or select.select([self._socket], [], [], seconds)[0]):
            if (found := self._parser.feed(self._read())) or seconds is not None:
                return found
        return []

    def _read(self) -> bytes:
        try:
            data = self._response.read1(_CHUNK)
        except (OSError, HTTPException):
            data = b""
        self.ended = not data
        return data

    def _holds_bytes(self) -> bool:
        """Whether something was read from the socket and not yet from the response."""
        if self._response.isclosed():
            return False
        self._socket.setblocking(False)
        try:
            return bool(self._response.fp.peek(1))
        except OSError:
            return False
        finally:
            self._socket.setblocking(True)

    def close(self) -> None:
        self._response.close()
        self._connection.close()
        self.ended = True

    def __iter__(self) -> Iterator[Document]:
        while not self.ended:
            yield from self.take()

    def __enter__(self) -> EventReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
