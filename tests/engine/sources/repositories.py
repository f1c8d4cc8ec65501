"""Real git repositories, served by git itself over http, and archives, for tests of what is fetched."""

from __future__ import annotations

import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hhtui.paths import Home

MANIFEST: dict[str, Any] = {
    "name": "Lamp",
    "type": "service",
    "version": "1.0",
    "description": "A lamp",
    "endpoints": {"health": None},
    "command": ["/bin/sh", "run.sh"],
}


def manifest(**fields: Any) -> str:
    return json.dumps({**MANIFEST, **fields})


def app_files(**fields: Any) -> dict[str, str]:
    """The files of a small app."""
    return {"homehelper.json": manifest(**fields), "run.sh": "exec sleep 1000\n"}


class Repository:
    """A git repository with a work tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        options = ["-c", "user.name=author", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
        done = subprocess.run(
            ["git", *options, *words], cwd=self.folder, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, files: dict[str, str], message: str = "a commit", tag: str = "") -> str:
        """Write ``files``, commit all that is there; the commit's hash."""
        for name, text in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        if tag:
            self.git("tag", "--annotate", "--message", tag, tag)
        return self.git("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return f"file://{self.folder}"


def home_with_incoming(root: Path) -> Home:
    home = Home.at(root)
    home.incoming_dir.mkdir(parents=True)
    return home


@contextmanager
def served_over_http(root: Path, *, smart: bool) -> Iterator[str]:
    """The repositories below ``root``, by git-http-backend(1) or as mere files; the address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(root))

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            if smart:
                self._backend()
            else:
                super().do_GET()

        def do_POST(self) -> None:
            self._backend()

        def _backend(self) -> None:
            path, _, query = self.path.partition("?")
            environment = {
                **os.environ,
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            }
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            lines = [line.partition(": ")[::2] for line in head.decode().split("\r\n")]
            status = next((int(value.split()[0]) for name, value in lines if name == "Status"), 200)
            self.send_response(status)
            for name, value in lines:
                if name != "Status":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tar_of(
    file: Path, files: dict[str, str], mode: Any = "w:gz", more: Iterable[tuple[tarfile.TarInfo, bytes]] = ()
) -> Path:
    """A tar archive of ``files``, and of headers made by hand."""
    with tarfile.open(file, mode) as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
        for member, content in more:
            tar.addfile(member, io.BytesIO(content) if content else None)
    return file


def zip_of(file: Path, files: dict[str, str], links: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in files.items():
            packed.writestr(name, text)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o120777 << 16
            packed.writestr(info, target)
    return file


def bare_clone(repository: Repository, folder: Path) -> Path:
    """As a server has it, ready to be handed out as files."""
    repository.git("clone", "--quiet", "--bare", str(repository.folder), str(folder))
    subprocess.run(["git", "update-server-info"], cwd=folder, check=True)
    return folder
