"""circus, https://circus.readthedocs.io."""

from __future__ import annotations

import shlex
from pathlib import Path

from benchmarks.install import PYTHON_PEERS
from benchmarks.peers.base import MAX_BYTES, MAX_FILES, Peer, first_line
from benchmarks.peers.supervisord import numbered_logs


class Circus(Peer):
    """With its ZeroMQ control sockets; each app's stdout into a rotated file."""

    name = "circus"

    @classmethod
    def version(cls) -> str | None:
        return first_line([str(PYTHON_PEERS / "circusd"), "--version"])

    def prepare(self) -> None:
        self.log_folder().mkdir()
        lines = [
            "[circus]",
            f"endpoint = ipc://{self.folder}/control.sock",
            f"pubsub_endpoint = ipc://{self.folder}/events.sock",
            "statsd = False",
            "[env]",
            f"BENCH_RUN = {self.run}",
        ]
        for app in self.apps:
            lines += [
                f"[watcher:{app.name}]",
                f"cmd = {shlex.join(self.argv(app))}",
                "copy_env = True",
                "stdout_stream.class = FileStream",
                f"stdout_stream.filename = {self.log_folder()}/{app.name}.log",
                f"stdout_stream.max_bytes = {MAX_BYTES}",
                f"stdout_stream.backup_count = {MAX_FILES}",
            ]
        (self.folder / "circus.ini").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [str(PYTHON_PEERS / "circusd"), str(self.folder / "circus.ini")]

    def log_files(self, name: str) -> list[Path]:
        return numbered_logs(self.log_folder() / f"{name}.log")
