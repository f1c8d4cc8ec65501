"""``hhtui new``: a starter app."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from hhtui.cli.session import Session, command
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError

_SERVICE = '''\
"""A service: answers on the port it is given, and says how it is on /health."""

import argparse
import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"health": "good", "message": "all is well"})
        elif self.path == "/":
            self.answer(200, {"hello": "from your new app"})
        else:
            self.answer(404, {"error": "not found"})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"listening on port {port}", flush=True)
    ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()


main()
'''

_STREAMLIT = '''\
"""A Streamlit app: started by its first visit, stopped when nobody looks."""

import streamlit as st

st.title("Your new app")
name = st.text_input("What is your name?")
if name:
    st.write(f"Hello {name}!")
'''


def _files(name: str, kind: str) -> dict[str, str]:
    manifest: dict[str, Any] = {
        "name": name,
        "type": kind,
        "description": "What this app does, in one sentence.",
        "version": "0.1.0",
        "main": "app.py",
    }
    if kind == "service":
        manifest |= {"autostart": True, "endpoints": {"health": "/health", "ui": "/"}}
        return {"homehelper.json": _json(manifest), "app.py": _SERVICE}
    manifest |= {"requirements": "requirements.txt", "endpoints": {"health": "/_stcore/health", "ui": "/"}}
    return {"homehelper.json": _json(manifest), "app.py": _STREAMLIT, "requirements.txt": "streamlit\n"}


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


@command()
@click.argument("folder")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["service", "streamlit"]),
    default="service",
    show_default=True,
    help="What kind of app.",
)
def new(session: Session, folder: str, kind: str) -> None:
    """Make a starter app in FOLDER, which must be new or empty."""
    from hhtui.paths import app_id_of

    path = Path(folder).absolute()
    app_id = app_id_of(path.name)
    if not app_id:
        raise InvalidInputError(f"{folder}: its name has no letter or digit to make an app's id of")
    if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
        raise ConflictError(f"{folder}: is there already and not empty")
    try:
        _write(path, _files(app_id.replace("-", " ").replace("_", " ").strip().title() or app_id, kind))
    except OSError as error:
        raise HomeHelperError(f"{folder}: cannot be made: {error.strerror}") from None
    console = session.console
    if console.json:
        console.document({"folder": str(path), "app_id": app_id, "type": kind})
        return
    console.words(f"made {path}")
    apps = session.home.default_apps_dir
    if path.parent == apps:
        console.words(f"start it with `hhtui start {app_id}`")
    else:
        console.words(f"copy it to {apps} and the engine finds it")


def _write(path: Path, files: dict[str, str]) -> None:
    """All files at once: a running engine must never see half an app."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden folders are no apps to the engine.
    unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        unfinished.chmod(0o755)
        for name, text in files.items():
            (unfinished / name).write_text(text, encoding="utf-8")
        os.rename(unfinished, path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
