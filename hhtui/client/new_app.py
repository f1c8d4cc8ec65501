"""Starter apps and the examples, for the command line and the interface."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.paths import app_id_of, examples_folder
from hhtui.storage import read_json_object

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


def make_starter(path: Path, kind: str, shown: str = "") -> str:
    """Make an app of ``kind`` (service, streamlit) in ``path``, which must be new or empty; its app_id.

    InvalidInputError for a name that makes no id, ConflictError if something is there, HomeHelperError if it cannot be
    written; ``shown`` is how the folder is called in them.
    """
    app_id = _id_for(path, shown or str(path))
    name = app_id.replace("-", " ").replace("_", " ").strip().title() or app_id
    _make(path, shown or str(path), lambda unfinished: _write_files(unfinished, _files(name, kind)))
    return app_id


def copy_example(name: str, apps: Path) -> str:
    """Copy the example app ``name`` into the folder ``apps``; its app_id. Errors as of ``make_starter``."""
    path = apps / name
    app_id = _id_for(path, str(path))
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    source = examples_folder() / name
    _make(path, str(path), lambda unfinished: shutil.copytree(source, unfinished, ignore=ignore, dirs_exist_ok=True))
    return app_id


def examples() -> list[tuple[str, str]]:
    """Name and description of every example app."""
    found = []
    folder = examples_folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            manifest = read_json_object(path / "homehelper.json", 256 * 1024)
        except (OSError, ValueError):
            continue
        found.append((path.name, str(manifest.get("description") or "")))
    return found


def _id_for(path: Path, shown: str) -> str:
    app_id = app_id_of(path.name)
    if not app_id:
        raise InvalidInputError(f"{shown}: its name has no letter or digit to make an app's id of")
    try:
        taken = os.path.lexists(path) and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise HomeHelperError(f"{shown}: cannot be looked at: {error.strerror}") from None
    if taken:
        raise ConflictError(f"{shown}: is there already and not empty")
    return app_id


def _make(path: Path, shown: str, fill: Callable[[Path], object]) -> None:
    """All files at once: a running engine must never see half an app."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Hidden folders are no apps to the engine.
        unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            fill(unfinished)
            unfinished.chmod(0o755)
            os.rename(unfinished, path)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    except shutil.Error as error:
        raise HomeHelperError(f"{shown}: cannot be made: {error}") from None
    except OSError as error:
        raise HomeHelperError(f"{shown}: cannot be made: {error.strerror}") from None


def _write_files(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
