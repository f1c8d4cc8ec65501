"""The page that a visitor of a sleeping app sees until the app answers."""

from __future__ import annotations

import base64
import hashlib

from hhtui.text import sanitise

# Tells the page's script, which asks again and again, from the app itself.
WAKING_HEADER = "X-HomeHelper-Waking"

_STYLE = (
    "body{font:18px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;"
    "background:#16181d;color:#e6e6e6}main{text-align:center;padding:2em}h1{font-size:1.4em}p{color:#a9afba}"
    "i{display:block;width:10em;height:3px;margin:1.5em auto;background:#2d323c;overflow:hidden}"
    "i::after{content:'';display:block;height:100%;width:30%;background:#5fb3f3;"
    "animation:m 1.2s ease-in-out infinite alternate}@keyframes m{to{margin-left:70%}}"
    "@media(prefers-color-scheme:light){body{background:#fff;color:#222}p{color:#555}i{background:#ddd}}"
)
# While the app starts nobody holds its port, and a plain reload would end on the browser's own error page.
_SCRIPT = (
    "(function ask(){setTimeout(function(){fetch(location.href,{cache:'no-store',redirect:'manual'})"
    f".then(function(a){{a.headers.get('{WAKING_HEADER}')?ask():location.reload()}},ask)}},700)}})()"
)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)


# As html.escape does, whose module brings a table of half a megabyte.
_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def waking_page(name: str) -> bytes:
    """The page for an app of that name, which it shows as text whatever it holds."""
    shown = sanitise(name, 100).translate(_ESCAPED)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{shown} is waking up</title>"
        '<noscript><meta http-equiv="refresh" content="1"></noscript>'
        f"<style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{shown} is waking up</h1><i></i>"
        "<p>This page shows it as soon as it answers. "
        "If that takes longer than a minute, its log in hhtui tells why.</p></main>"
        f"<script>{_SCRIPT}</script></body></html>\n"
    ).encode()
