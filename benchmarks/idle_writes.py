"""What an idle engine writes to disk: 20 healthy apps, a private Redis server, nobody looks.

Run: python -m benchmarks.idle_writes [minutes] [folder on a real disk] [minutes to settle before]
Figures: write_bytes of /proc/PID/io (proc(5): what was to go to storage) and the files that changed.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import make_app, make_home

APPS = 20
APP = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"health": "good", "message": "well"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def written(pid: int) -> int:
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes"):
            return int(line.split()[1])
    return 0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def files_of(root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in root.rglob("*"):
        if path.is_file():
            stat = path.stat()
            found[str(path.relative_to(root))] = (stat.st_mtime_ns, stat.st_size)
    return found


def servers_in(folder: Path) -> list[int]:
    """Pids of the processes that work in ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found


def measure(root: Path, minutes: float, settle: float) -> None:
    make_home(root, ports=APPS + 5, redis={"embedded": "always"})
    for number in range(APPS):
        folder = make_app(
            root, f"app{number:02}", endpoints={"health": "/health"}, autostart=True,
            command=[sys.executable, "-S", "app.py"],
        )  # fmt: skip
        (folder / "app.py").write_text(APP)
    engine = EngineProcess(root)
    try:
        engine.start()
        for number in range(APPS):
            engine.wait_status(f"app{number:02}", "running", timeout=60)
        time.sleep(settle * 60)
        assert engine.process is not None
        pid = engine.process.pid
        server = servers_in(root / "redis")
        watched = {"engine": pid, **({"redis": server[0]} if server else {})}
        before = {name: (written(pid), cpu_seconds(pid)) for name, pid in watched.items()}
        files = files_of(root)
        time.sleep(minutes * 60)
        figures = {
            name: {
                "written_bytes": written(pid) - before[name][0],
                "cpu_seconds": round(cpu_seconds(pid) - before[name][1], 2),
            }
            for name, pid in watched.items()
        }
        changed = {
            name: after[1] - files.get(name, (0, 0))[1]
            for name, after in files_of(root).items()
            if files.get(name) != after
        }
        print(json.dumps({"apps": APPS, "minutes": minutes, **figures, "changed_files_grown_by": changed}, indent=2))
    finally:
        end_home(engine)


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    folder = sys.argv[2] if len(sys.argv) > 2 else None
    settle = float(sys.argv[3]) if len(sys.argv) > 3 else 0.5
    with tempfile.TemporaryDirectory(prefix="hh-idle-", dir=folder) as temporary:
        measure(Path(temporary) / "home", minutes, settle)


if __name__ == "__main__":
    main()
