"""What Caddy is told: its configuration (caddyserver.com/docs/json) made of the sites, pure.

Caddy hands to the engine, at its door (door.py), what it cannot decide itself: it does so by a request to a Unix socket
with the headers of ``Ask``, which no visitor can send, as they are taken from every request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from hhtui.engine.app.on_demand import GATEWAY_ADDRESS
from hhtui.engine.gateway.caddy import ADMIN_SOCKET, Listening

DOOR_SOCKET = "door.sock"
# Where Caddy tells of each visit that has ended, of those that it asked for at the door.
VISITS_SOCKET = "visits.sock"
VISIT_FIELD = "homehelper_app"
# Paths below it are the gateway's, not the app's.
OWN_PATH = "/.homehelper"

ASK_HEADER = "X-HomeHelper-Ask"
APP_HEADER = "X-HomeHelper-App"
METHOD_HEADER = "X-HomeHelper-Method"
URI_HEADER = "X-HomeHelper-Uri"
USER_HEADER = "X-HomeHelper-User"
SESSION_COOKIE = "hhtui_session"
LOGIN_COOKIE = "hhtui_login"

# WSGI and CGI take "_" and "-" for the same.
_OURS = ["X-HomeHelper*", "X_HomeHelper*"]
_COOKIES = [
    {"search_regexp": rf"(?:^|;\s*)(?:__Host-)?(?:{SESSION_COOKIE}|{LOGIN_COOKIE})=[^;]*", "replace": ""},
    {"search_regexp": r"^[;\s]+", "replace": ""},
]
# A connection that nobody uses is closed after this time, so that it holds no app awake.
_IDLE = "2s"
# So long WebSockets of before a change of the configuration stay open.
_STREAMS_STAY = "168h"
_LOG_MB = 1


class Ask(StrEnum):
    """What Caddy asks at the door."""

    ENTER = "enter"
    """May this request go on to the app? 2xx: yes."""
    PAGE = "page"
    """Answer this request."""
    TROUBLE = "trouble"
    """The same, as the app does not answer."""


@dataclass(frozen=True, slots=True)
class Site:
    """An app's own name; ``port`` None: the door answers.

    ``asks``: each request is asked for at the door first. ``noted``: its visitors are.
    """

    app_id: str
    name: str
    port: int | None
    asks: bool
    noted: bool


@dataclass(frozen=True, slots=True)
class Certificate:
    """The owner's certificate chain and its key (PEM); ``version`` is another one once the files have changed."""

    file: str
    key: str
    version: str


Tls = Literal["off", "internal", "own"]


def caddy_config(
    sites: Sequence[Site],
    host: str,
    plain: Listening,
    secure: Listening | None,
    *,
    tls: Tls,
    certificate: Certificate | None,
    state: Path,
    log: Path,
) -> dict[str, Any]:
    """The whole configuration; ``host`` is the machine's own name, ``certificate`` the owner's file and its key."""
    routes = [_strip(), *(_site_route(site) for site in sites), _route([_door(Ask.PAGE)])]
    errors = {"routes": [_route([_door(Ask.TROUBLE)])]}
    visits = {"logger_names": {site.name: ["visits"] for site in sites if site.noted}, "skip_unmapped_hosts": True}
    servers: dict[str, Any] = {
        "plain": {
            "listen": [f"fd/{plain.descriptor}"],
            "automatic_https": {"disable": True},
            "protocols": ["h1"],
            "routes": routes,
            "errors": errors,
            "logs": visits,
        }
    }
    apps: dict[str, Any] = {"http": {"servers": servers}}
    if secure is not None and tls != "off":
        names = [host, *(site.name for site in sites)]
        port = "" if secure.port == 443 else f":{secure.port}"
        to_tls = {
            "handler": "static_response",
            "status_code": 308,
            "headers": {"Location": [f"https://{{http.request.host}}{port}{{http.request.uri}}"]},
        }
        # How the certificate is installed must be there to read before it is.
        open_ = {"path": [f"{OWN_PATH}/certificate*"]}
        moved = {"match": [{"host": names, "not": [open_]}], "handle": [to_tls], "terminal": True}
        servers["plain"]["routes"] = [_strip(), moved, _route([_door(Ask.PAGE)])]
        servers["secure"] = {
            "listen": [f"fd/{secure.descriptor}"],
            "automatic_https": {"disable": True},
            "protocols": ["h1", "h2"],
            "tls_connection_policies": [{"default_sni": host}],
            "routes": routes,
            "errors": errors,
            "logs": visits,
        }
        if tls == "own" and certificate is not None:
            # By another tag Caddy sees that the files are to be read anew.
            files = {"certificate": certificate.file, "key": certificate.key, "tags": [certificate.version]}
            apps["tls"] = {"certificates": {"load_files": [files]}}
        else:
            policy = {"subjects": names, "issuers": [{"module": "internal"}]}
            apps["tls"] = {"automation": {"policies": [policy]}, "certificates": {"automate": names}}
            authority = {"name": f"HomeHelper {host}", "install_trust": False}
            apps["pki"] = {"certificate_authorities": {"local": authority}}
    writer = {"output": "file", "filename": str(log), "mode": "0640", "roll_size_mb": _LOG_MB, "roll_keep": 1}
    return {
        "admin": {"listen": f"unix/{ADMIN_SOCKET}|0600", "config": {"persist": False}},
        "storage": {"module": "file_system", "root": str(state)},
        "logging": {
            "logs": {
                # An app that does not answer is no news: the page says so.
                "default": {"writer": writer, "level": "WARN", "exclude": ["http.log.error", "http.log.access"]},
                "visits": {
                    "writer": {"output": "net", "address": f"unixgram/{VISITS_SOCKET}", "soft_start": True},
                    "encoder": {"format": "json"},
                    "include": ["http.log.access.visits"],
                },
            }
        },
        "apps": apps,
    }


def _site_route(site: Site) -> dict[str, Any]:
    own = _route([_door(Ask.PAGE)], path=[OWN_PATH, f"{OWN_PATH}/*"])
    rest = [_door(Ask.PAGE)]
    if site.port is not None:
        noted = {"handler": "log_append", "key": VISIT_FIELD, "value": site.app_id}
        rest = [_ask_first(), noted] if site.asks else []
        rest += [{"handler": "headers", "request": {"replace": {"Cookie": _COOKIES}}}, _app(site.port)]
    inner = {
        "handler": "subroute",
        "routes": [{"handle": [{"handler": "vars", "app": site.app_id}]}, own, _route(rest)],
    }
    # A name may be written with the dot that ends it.
    return _route([inner], host=[site.name, f"{site.name}."])


def _route(handle: list[dict[str, Any]], **match: list[str]) -> dict[str, Any]:
    return {**({"match": [match]} if match else {}), "handle": handle, "terminal": True}


def _strip() -> dict[str, Any]:
    return {"handle": [{"handler": "headers", "request": {"delete": _OURS}}]}


def _app(port: int) -> dict[str, Any]:
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"127.0.0.1:{port}"}],
        "transport": {
            "protocol": "http",
            "local_address": GATEWAY_ADDRESS,
            "keep_alive": {"idle_timeout": _IDLE},
            "compression": False,
        },
        "stream_close_delay": _STREAMS_STAY,
    }


def _door(ask: Ask) -> dict[str, Any]:
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"unix/{DOOR_SOCKET}"}],
        "headers": {
            "request": {
                "set": {
                    ASK_HEADER: [ask.value],
                    APP_HEADER: ["{http.vars.app}"],
                    METHOD_HEADER: ["{http.request.orig_method}"],
                    URI_HEADER: ["{http.request.orig_uri}"],
                }
            }
        },
    }


def _ask_first() -> dict[str, Any]:
    # Go's own spelling, in which its HTTP library keeps headers.
    user = f"{{http.reverse_proxy.header.{USER_HEADER.title()}}}"
    known = {
        "match": [{"not": [{"vars": {user: [""]}}]}],
        "handle": [{"handler": "headers", "request": {"set": {USER_HEADER: [user]}}}],
    }
    allowed = {"match": {"status_code": [2]}, "routes": [known]}
    return {**_door(Ask.ENTER), "rewrite": {"method": "GET"}, "handle_response": [allowed]}
