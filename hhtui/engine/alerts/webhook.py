"""A program of its own that POSTs one JSON document: names, certificates and slow servers never concern the engine.

Standard input is ``{"url", "body", "timeout"}``, so that the URL, which may hold a token, is on no command line.
Ends with 0, or with 1 and one line on standard error that does not hold the URL.
"""

from __future__ import annotations

import base64
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is sent elsewhere is a mistake in the configuration."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def post(url: str, body: Any, timeout: float) -> str:
    """Send ``body``; "" if a 2xx answer came, else one line."""
    parts = urllib.parse.urlsplit(url)
    headers = {"Content-Type": "application/json", "User-Agent": "hhtui"}
    if parts.username or parts.password:
        pair = f"{urllib.parse.unquote(parts.username or '')}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        url = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout):
            return ""
    except urllib.error.HTTPError as error:
        return f"the server answered with status {error.code}"
    except urllib.error.URLError as error:
        return f"{getattr(error.reason, 'strerror', None) or error.reason}"
    except (OSError, ValueError) as error:
        return f"{getattr(error, 'strerror', None) or type(error).__name__}"


def main() -> int:
    """Do what standard input says."""
    order = json.load(sys.stdin)
    problem = post(order["url"], order["body"], order["timeout"])
    if problem:
        sys.stderr.write(problem + "\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
