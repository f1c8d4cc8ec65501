"""The gateway's own pages: an app that does not run, the list of apps, the login, the certificate."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from urllib.parse import quote

from hhtui.engine.gateway.routes import OWN_PATH
from hhtui.text import sanitise

_STYLE = (
    "body{font:18px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;"
    "background:#16181d;color:#e6e6e6}main{padding:2em;max-width:34em}h1{font-size:1.4em}p,li{color:#a9afba}"
    "a{color:#5fb3f3}input,button{font:inherit;padding:.4em .7em;border-radius:.3em;border:1px solid #5b6270}"
    "code{overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:light){body{background:#fff;color:#222}p,li{color:#555}a{color:#0b63b5}}"
)
# After a login its form leads on to the app's own name.
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'self' http://*.local:* https://*.local:*; base-uri 'none'; frame-ancestors 'none'"
)
# As html.escape does, whose module brings a table of half a megabyte.
_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def shown(text: str, limit: int = 300) -> str:
    """Any text as HTML shows it."""
    return sanitise(text, limit).translate(_ESCAPED)


def page(title: str, *parts: str) -> bytes:
    """A page of HTML parts below its title, which is text."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{shown(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{shown(title)}</h1>{''.join(parts)}</main></body></html>\n"
    ).encode()


def not_running_page(name: str, status: str, reason: str) -> bytes:
    """An app that its visitor cannot have now, and why."""
    why = f"<p>{shown(reason)}</p>" if reason else ""
    return page(f"{sanitise(name, 100)} is not running", f"<p>Its state: {shown(status)}.</p>", why)


def silent_page(name: str) -> bytes:
    """An app that runs and does not answer."""
    return page(f"{sanitise(name, 100)} does not answer", "<p>It runs, but nothing listens on its port.</p>")


def index_page(host: str, apps: Iterable[tuple[str, str, str]], *, logged_in: bool, certificate: bool) -> bytes:
    """The apps that have pages: name, URL and state of each."""
    rows = "".join(
        f'<li><a href="{shown(url)}">{shown(name, 100)}</a>: {shown(state)}</li>' for name, url, state in apps
    )
    parts = [f"<ul>{rows}</ul>" if rows else "<p>No app has a page.</p>"]
    if certificate:
        parts.append(f'<p><a href="{OWN_PATH}/certificate">Make this device trust the certificate</a></p>')
    if logged_in:
        parts.append(f'<p><a href="{OWN_PATH}/logout">Log out</a></p>')
    return page(f"Apps on {host}", *parts)


def login_page(to: str, problem: str = "") -> bytes:
    """The form; ``to`` is where it leads."""
    why = f"<p>{shown(problem)}</p>" if problem else ""
    return page(
        "Log in",
        why,
        f'<form method="post" action="{OWN_PATH}/login?to={quote(to, safe="")}">'
        '<p><input type="password" name="password" aria-label="Password" autocomplete="current-password" autofocus '
        "required> <button>Log in</button></p></form>",
    )


def certificate_page(host: str) -> bytes:
    """How the authority's certificate gets into a device."""
    file = f"{OWN_PATH}/certificate.crt"
    return page(
        "Trust this HomeHelper",
        "<p>The apps' certificates are made by an authority of this machine's own. A device that knows it shows their "
        f'pages without a warning. <a href="{file}">Download its certificate</a>, then:</p>'
        "<ul><li>iPhone, iPad: Settings, Profile Downloaded, Install; then General, About, Certificate Trust Settings, "
        "and switch it on.</li>"
        "<li>Android: Settings, Security, Encryption and credentials, Install a certificate, CA certificate.</li>"
        "<li>macOS: open the file, and set it to Always Trust in Keychain Access.</li>"
        "<li>Windows: open the file, Install Certificate, into Trusted Root Certification Authorities.</li>"
        "<li>Linux: <code>sudo cp certificate.crt /usr/local/share/ca-certificates/homehelper.crt</code> and "
        "<code>sudo update-ca-certificates</code>; Firefox: Settings, View Certificates, Authorities, Import.</li></ul>"
        f"<p>Do this only in your own network: it was sent unencrypted by {shown(host)}. "
        "<code>hhtui gateway status</code> shows its fingerprint.</p>",
    )
