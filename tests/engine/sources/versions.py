"""The versions of one small app in a real git repository, and homes that have the first of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from hhtui.engine.sources.fetch import FetchSpec, fetch
from hhtui.model.event import utc_now
from hhtui.model.source import AppSource
from hhtui.paths import Home
from tests.engine.sources.repositories import Repository

# Serves its version, and notes its starts in a database and in a file of its data.
SERVER = """
import http.server, os, sqlite3, sys
VERSION = "{version}"
DATA = os.environ["HOMEHELPER_DATA_DIR"] + "/"
database = sqlite3.connect(DATA + "starts.db")
database.execute("PRAGMA journal_mode=WAL")
database.execute("CREATE TABLE IF NOT EXISTS starts (version TEXT)")
database.execute("INSERT INTO starts VALUES (?)", (VERSION,))
database.commit()
open(DATA + "written-by", "w").write(VERSION)
{fault}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status})
        self.end_headers()
        self.wfile.write(VERSION.encode())
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def release(
    repository: Repository,
    version: str,
    *,
    fault: str = "",
    status: int = 200,
    files: dict[str, str] | None = None,
    **manifest: Any,
) -> str:
    """Commit a version of the app; the commit's hash."""
    document = {
        "name": "lamp",
        "type": "service",
        "version": version,
        "start": {"timeout_seconds": 30},
        "restart": {"policy": "always"},
        **manifest,
    }
    text = SERVER.format(version=version, fault=fault, status=status)
    contents = {"app.py": text, "homehelper.json": json.dumps(document), **(files or {})}
    return repository.commit(contents, f"Release {version}")


async def bring(home: Home, repository: Repository, app_id: str = "lamp") -> Path:
    """Put the newest version into the home, as `hhtui add` leaves it; the app's folder."""
    home.incoming_dir.mkdir(exist_ok=True)
    fetched = await fetch(FetchSpec(home, repository.url), home.incoming_dir / "test", lambda *_: None)
    folder = home.default_apps_dir / app_id
    source = AppSource(
        kind="git", url=repository.url, revision=fetched.revision, added_at=utc_now(), files=fetched.files
    )
    source.write(home, app_id)
    shutil.move(fetched.folder, folder)
    shutil.rmtree(home.incoming_dir / "test")
    return folder
