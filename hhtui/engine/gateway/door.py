"""What Caddy asks the engine: whether a visitor may go on to an app, and the pages that are not an app's.

Only Caddy reaches it: a Unix socket of mode 600 in a folder of mode 700. So what it says of a visitor is believed here,
and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import h11

from hhtui.engine.app.fleet import Fleet
from hhtui.engine.app.supervisor import Supervisor
from hhtui.engine.gateway import pages
from hhtui.engine.gateway.login import SESSION_SECONDS, Login
from hhtui.engine.gateway.routes import (
    APP_HEADER,
    ASK_HEADER,
    DOOR_SOCKET,
    LOGIN_COOKIE,
    METHOD_HEADER,
    OWN_PATH,
    SESSION_COOKIE,
    URI_HEADER,
    USER_HEADER,
    VISIT_FIELD,
    VISITS_SOCKET,
    Ask,
)
from hhtui.engine.launch.doorbell import POLICY as WAKING_POLICY
from hhtui.engine.launch.doorbell import WAKING_HEADER, waking_page
from hhtui.engine.launch.launch import page_path
from hhtui.model.app import Status
from hhtui.paths import socket_address

log = logging.getLogger("homehelper.gateway")

# There is one login, and so one user.
USER = "owner"
_MAX_HEAD_BYTES = 64 * 1024
_MAX_BODY_BYTES = 16 * 1024
_BACKLOG = 256
# So many ends of visits are taken note of in one turn of the loop.
_AT_ONCE = 64
_COMING = frozenset({Status.WAITING, Status.STARTING, Status.INSTALLING, Status.BACKOFF})
_HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Names:
    """By which names the home is known: ``host`` its own, ``apps`` those of the apps by their ids.

    ``port`` is ``:8080`` where the scheme's own cannot be had; ``certificate`` is what devices are to trust. ``only``:
    apps are told to listen for the gateway alone, so that their ports lead nowhere.
    """

    host: str
    apps: Mapping[str, str]
    scheme: str
    port: str
    certificate: Path | None = None
    only: bool = False

    def url(self, name: str) -> str:
        """Where a name's pages are, without a path."""
        return f"{self.scheme}://{name}{self.port}"


@dataclass(frozen=True, slots=True)
class Visit:
    """A visitor's request, as Caddy tells it; ``host`` without a port."""

    method: str
    ask: str
    app_id: str
    host: str
    scheme: str
    visitor: str
    uri: str
    accept: str
    cookies: str
    body: bytes

    @property
    def path(self) -> str:
        return self.uri.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        return _fields(self.uri.partition("?")[2])

    @property
    def wants_page(self) -> bool:
        """Whether a person looks at the answer."""
        return self.method in ("GET", "HEAD") and "text/html" in self.accept.lower()

    @property
    def bound_to(self) -> str:
        """Whom a token is for: where it travels unencrypted it is good for this address alone."""
        return "" if self.scheme == "https" else self.visitor

    def cookie(self, name: str) -> str:
        """The cookie's value, "" without."""
        with contextlib.suppress(CookieError):
            jar: SimpleCookie = SimpleCookie(self.cookies)
            if (morsel := jar.get(self._cookie_name(name))) is not None:
                return morsel.value
        return ""

    def set_cookie(self, name: str, value: str, seconds: int) -> tuple[str, str]:
        """The header that sets a cookie of this host alone."""
        secure = "; Secure" if self.scheme == "https" else ""
        attributes = f"Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        return "Set-Cookie", f"{self._cookie_name(name)}={value}; {attributes}"

    def _cookie_name(self, name: str) -> str:
        # RFC 6265bis: a browser takes such a one only from the host itself, over TLS.
        return f"__Host-{name}" if self.scheme == "https" else name


@dataclass(frozen=True, slots=True)
class Answer:
    """What the visitor gets, or with 200 and no body to ``Ask.ENTER``: the app."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    kind: str = _HTML
    policy: str = field(default=pages.POLICY)


class Door:
    """Listens for Caddy; ``names`` are those of this moment."""

    def __init__(self, folder: Path, fleet: Fleet, login: Login, names: Callable[[], Names]) -> None:
        self._path = folder / DOOR_SOCKET
        self._fleet = fleet
        self._login = login
        self._names = names
        self._server: asyncio.Server | None = None
        self._visits: socket.socket | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Begin to listen; OSError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.parent.chmod(0o700)
        self._path.unlink(missing_ok=True)
        with socket_address(self._path) as address:
            self._server = await asyncio.start_unix_server(
                self._serve, address, backlog=_BACKLOG, limit=_MAX_HEAD_BYTES
            )
        self._path.chmod(0o600)
        visits = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        path = self._path.with_name(VISITS_SOCKET)
        path.unlink(missing_ok=True)
        with socket_address(path) as address:
            visits.bind(address)
        path.chmod(0o600)
        asyncio.get_running_loop().add_reader(visits, self._visits_ended, visits)
        self._visits = visits

    def _visits_ended(self, visits: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                entry = json.loads(visits.recv(_MAX_HEAD_BYTES))
                supervisor = self._fleet.supervisors.get(entry[VISIT_FIELD])
                visitor = entry["request"]["client_ip"]
            except BlockingIOError:
                return
            except (OSError, ValueError, KeyError, TypeError):
                continue  # one that did not get to the app
            if supervisor is not None and supervisor.app.sleeps:
                supervisor.on_demand.guest_left(visitor)

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._visits is not None:
            asyncio.get_running_loop().remove_reader(self._visits)
            self._visits.close()
            self._visits = None
            for path in (self._path, self._path.with_name(VISITS_SOCKET)):
                path.unlink(missing_ok=True)
        for writer in tuple(self._connections):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        try:
            while (visit := await _read_visit(connection, reader)) is not None:
                try:
                    answer = await self.answer(visit)
                except Exception:
                    log.exception("a visit could not be answered")
                    answer = Answer(500, pages.page("Something went wrong", "<p>The engine's log says what.</p>"))
                writer.write(_bytes_of(connection, answer, head=visit.method == "HEAD" and visit.ask != Ask.ENTER))
                await writer.drain()
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    break
                connection.start_next_cycle()
        except (OSError, h11.ProtocolError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def answer(self, visit: Visit) -> Answer:
        """What the visitor gets."""
        supervisor = self._fleet.supervisors.get(visit.app_id)
        if visit.path == OWN_PATH or visit.path.startswith(f"{OWN_PATH}/"):
            return await self._own(visit)
        if supervisor is None:
            return self._of_host(visit)
        user, refusal = self._identify(visit, supervisor)
        return refusal if refusal is not None else self._app(visit, supervisor, user)

    # Apps.

    def _identify(self, visit: Visit, supervisor: Supervisor) -> tuple[str, Answer | None]:
        """Who the visitor is, "" for nobody, and why he may not go on."""
        if not self._login.is_set:
            return "", None
        if self._login.accepts(visit.cookie(SESSION_COOKIE), SESSION_COOKIE, visit.host, visit.bound_to):
            return USER, None
        if supervisor.found.owner.public or _is_public(visit.path, supervisor):
            return "", None
        if not visit.wants_page:
            return "", _text(401, "log in first")
        names = self._names()
        to = quote(f"{names.url(visit.host)}{visit.uri}", safe="")
        return "", _moved(f"{names.url(names.host)}{OWN_PATH}/login?to={to}")

    def _app(self, visit: Visit, supervisor: Supervisor, user: str) -> Answer:
        app, name = supervisor.app, supervisor.record.name
        if app.sleeps:
            supervisor.on_demand.visited(visit.visitor, visit.path)
        if app.status is Status.RUNNING:
            if visit.ask == Ask.ENTER:
                if app.sleeps:
                    supervisor.on_demand.guest_came(visit.visitor)
                return Answer(200, headers=((USER_HEADER, user),) if user else ())
            if not visit.wants_page:
                return _text(502, f"{visit.app_id} does not answer")
            return Answer(502, pages.silent_page(name))
        if app.status in _COMING:
            headers = (("Retry-After", "1"), (WAKING_HEADER, "1"))
            if visit.wants_page:
                return Answer(503, waking_page(name), headers, policy=WAKING_POLICY)
            return Answer(503, f"{visit.app_id} is starting\n".encode(), headers, "text/plain; charset=utf-8")
        if not visit.wants_page:
            return _text(503, f"{visit.app_id} is not running")
        info = supervisor.record.runtime_info
        return Answer(503, pages.not_running_page(name, app.status.value, info.error or info.reason))

    # The machine's own name, and whatever else leads here.

    def _of_host(self, visit: Visit) -> Answer:
        names = self._names()
        if visit.method not in ("GET", "HEAD"):
            return _text(405, "there is nothing to send anything to")
        if visit.path == "/":
            known = self._login.accepts(visit.cookie(LOGIN_COOKIE), LOGIN_COOKIE, visit.host, visit.bound_to)
            return Answer(
                200,
                pages.index_page(
                    names.host,
                    [self._listed(app_id, visit) for app_id in names.apps],
                    logged_in=known,
                    certificate=names.certificate is not None,
                ),
            )
        first, _, rest = visit.path.removeprefix("/").partition("/")
        app_id, _, path = rest.partition("/")
        if first == "apps" and unquote(app_id) in names.apps:
            query = visit.uri[len(visit.path) :]
            return _moved(f"{self._place(unquote(app_id), visit)}/{path}{query}")
        return Answer(404, pages.page("There is nothing here", '<p><a href="/">All apps</a></p>'))

    def _listed(self, app_id: str, visit: Visit) -> tuple[str, str, str]:
        supervisor = self._fleet.get(app_id)
        url = f"{self._place(app_id, visit)}{page_path_of(supervisor)}"
        return supervisor.record.name, url, supervisor.status.value

    def _place(self, app_id: str, visit: Visit) -> str:
        """Where a visitor of this host finds the app: by its name, or by its port where he came by no name."""
        names = self._names()
        port = self._fleet.get(app_id).record.runtime_info.assigned_port
        if visit.host == names.host or visit.host.endswith(".local") or port is None or names.only:
            return names.url(names.apps[app_id])
        host = f"[{visit.host}]" if ":" in visit.host else visit.host
        return f"http://{host}:{port}"

    # The gateway's own pages.

    async def _own(self, visit: Visit) -> Answer:
        names = self._names()
        what = visit.path.removeprefix(OWN_PATH).strip("/")
        if what == "enter":
            return self._enter(visit)
        if what == "logout":
            gone = tuple(visit.set_cookie(name, "", 0) for name in (SESSION_COOKIE, LOGIN_COOKIE))
            return Answer(200, pages.page("Logged out", '<p><a href="/">Back</a></p>'), gone)
        if what == "login" and visit.app_id:
            return _moved(f"{names.url(names.host)}{OWN_PATH}/login")
        if what == "login" and self._login.is_set:
            return await self._log_in(visit)
        if what == "certificate" and names.certificate is not None:
            return Answer(200, pages.certificate_page(names.host))
        if what == "certificate.crt" and names.certificate is not None:
            with contextlib.suppress(OSError):
                loop = asyncio.get_running_loop()
                return Answer(
                    200,
                    await loop.run_in_executor(None, names.certificate.read_bytes),
                    kind="application/x-x509-ca-cert",
                )
        return Answer(404, pages.page("There is nothing here", '<p><a href="/">Back</a></p>'))

    async def _log_in(self, visit: Visit) -> Answer:
        to = visit.query.get("to", [""])[0]
        if self._login.accepts(visit.cookie(LOGIN_COOKIE), LOGIN_COOKIE, visit.host, visit.bound_to):
            return self._go_on(visit, to, ())
        if visit.method != "POST":
            return Answer(200, pages.login_page(to))
        form = _fields(visit.body.decode("utf-8", "replace"))
        if not self._login.must_wait(visit.visitor):
            if await self._login.check(form.get("password", [""])[0], visit.visitor):
                log.info("a visitor has logged in from %s", visit.visitor)
                token = self._login.token(LOGIN_COOKIE, visit.host, visit.bound_to)
                return self._go_on(visit, to, (visit.set_cookie(LOGIN_COOKIE, token, SESSION_SECONDS),))
            log.warning("a wrong password from %s", visit.visitor)
        if wait := self._login.must_wait(visit.visitor):
            words = f"Too many wrong passwords: wait {wait} s."
            return Answer(429, pages.login_page(to, words), (("Retry-After", str(wait)),))
        return Answer(403, pages.login_page(to, "That is not the password."))

    def _go_on(self, visit: Visit, to: str, headers: tuple[tuple[str, str], ...]) -> Answer:
        """To where the visitor wanted to be: an app's name by a ticket, anywhere else not at all."""
        names = self._names()
        try:
            wanted = urlsplit(to)
            host = wanted.hostname or ""
        except ValueError:
            return _moved("/", headers)
        if host not in names.apps.values():
            return _moved("/", headers)
        path = f"{wanted.path or '/'}{f'?{wanted.query}' if wanted.query else ''}"
        ticket = self._login.ticket(host, visit.bound_to, path)
        return _moved(f"{names.url(host)}{OWN_PATH}/enter?ticket={ticket}", headers)

    def _enter(self, visit: Visit) -> Answer:
        path = self._login.use(visit.query.get("ticket", [""])[0], visit.host, visit.bound_to)
        if path is None:
            return _moved("/")
        token = self._login.token(SESSION_COOKIE, visit.host, visit.bound_to)
        # "//" would lead to another host.
        return _moved(f"/{path.lstrip('/')}", (visit.set_cookie(SESSION_COOKIE, token, SESSION_SECONDS),))


def page_path_of(supervisor: Supervisor) -> str:
    """Where the app's page is below its address."""
    manifest = supervisor.found.manifest
    return (page_path(manifest) if manifest is not None else None) or "/"


def _is_public(path: str, supervisor: Supervisor) -> bool:
    """Whether the app's author lets everybody see the path: by whole segments, and only where nobody can read another
    path out of it than we do."""
    manifest = supervisor.found.manifest
    plain = unquote(path)
    segments = plain.split("/")
    if (
        manifest is None
        or "%" in plain
        or "\\" in plain
        or ";" in plain
        or {".", ".."} & set(segments)
        or "//" in plain
    ):
        return False
    routes = (route.partition("?")[0].rstrip("/") for route in manifest.config.public_routes)
    return any(plain == route or plain.startswith(f"{route}/") for route in routes)


def _fields(text: str) -> dict[str, list[str]]:
    """A form's fields; none where there are more than a form of ours has."""
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return {}


def _moved(to: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    # What a header cannot hold may stand in an address that was sent here.
    return Answer(302, headers=(("Location", quote(to, safe=string.punctuation)), *headers))


def _text(status: int, words: str) -> Answer:
    return Answer(status, f"{words}\n".encode(), kind="text/plain; charset=utf-8")


async def _read_visit(connection: h11.Connection, reader: asyncio.StreamReader) -> Visit | None:
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(16384))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data[: _MAX_BODY_BYTES - len(body)]
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return _visit_of(request, bytes(body))
        else:
            return None


def _visit_of(request: h11.Request, body: bytes) -> Visit:
    headers: dict[bytes, str] = {}
    for name, value in request.headers:
        text = value.decode("latin-1")
        headers[name] = f"{headers[name]}; {text}" if name == b"cookie" and name in headers else text

    def of(name: str) -> str:
        return headers.get(name.lower().encode(), "")

    try:
        host = urlsplit(f"//{of('X-Forwarded-Host')}").hostname or ""
    except ValueError:
        host = ""
    return Visit(
        method=of(METHOD_HEADER) or request.method.decode("ascii"),
        ask=of(ASK_HEADER),
        app_id=of(APP_HEADER),
        host=host.rstrip("."),
        scheme=of("X-Forwarded-Proto"),
        visitor=of("X-Forwarded-For").rpartition(",")[2].strip(),
        uri=of(URI_HEADER),
        accept=of("Accept"),
        cookies=of("Cookie"),
        body=body,
    )


def _bytes_of(connection: h11.Connection, answer: Answer, *, head: bool) -> bytes:
    headers = [
        ("Content-Type", answer.kind),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", answer.policy),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        *answer.headers,
    ]
    data = connection.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    if answer.body and not head:
        data += connection.send(h11.Data(data=answer.body)) or b""
    return data + (connection.send(h11.EndOfMessage()) or b"")
