"""A home to try things out in, and its removal."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from hhtui.cli.console import Console
from hhtui.client.starter import examples_folder
from hhtui.errors import HomeHelperError

_APP_PORTS = 30
_ON_DEMAND_PORTS = 10
# Below what Linux gives to outgoing connections (ip_local_port_range), above what services commonly take.
_PORTS_FROM, _PORTS_TO = 20_000, 32_000


class DemoHome:
    """A throw-away home with the example apps; a process of its own clears it away when this one ends.

    It is a process because this one may end in ways that run no clean-up: a lost terminal, SIGKILL.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._cleaner: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Path:
        # The demo's own configuration must hold, whatever this user has set for the real home.
        for name in [name for name in os.environ if name.startswith("HOMEHELPER_")] + ["RUNTIME_DIRECTORY"]:
            os.environ.pop(name, None)
        try:
            root = Path(tempfile.mkdtemp(prefix="hhtui-demo-"))
        except OSError as error:
            raise HomeHelperError(
                f"no place for the demo: {error.filename or 'temporary folder'}: {error.strerror}"
            ) from None
        self._cleaner = subprocess.Popen(
            [sys.executable, "-P", "-m", "hhtui.cli.demo_cleaner", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        try:
            _furnish(root)
        except OSError as error:
            self.__exit__(None, None, None)
            raise HomeHelperError(f"the demo cannot be set up: {error.filename}: {error.strerror}") from None
        return root

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cleaner is None or self._cleaner.stdin is None:
            return
        self._console.progress("ending the demo")
        self._cleaner.stdin.close()
        try:
            self._cleaner.wait(60)
        except subprocess.TimeoutExpired:
            self._console.progress("the demo is still being cleared away in the background")


def _furnish(root: Path) -> None:
    apps = root / "apps"
    examples = examples_folder()
    if examples.is_dir():
        shutil.copytree(examples, apps, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    else:
        apps.mkdir()
    first = free_ports(_APP_PORTS + _ON_DEMAND_PORTS)
    config = {
        "schema_version": 1,
        # A server of the demo's own: the real home's Redis must not hear of it.
        "redis": {"embedded": "always"},
        "process_manager": {
            "port_range": {"start": first, "end": first + _APP_PORTS - 1},
            "streamlit_port": first + _APP_PORTS,
        },
        "system": {"main_port": 0},
        "health_check_interval_seconds": 10,
    }
    (root / "config").mkdir()
    (root / "config" / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def free_ports(count: int) -> int:
    """The first of ``count`` neighbouring ports that nobody listens on; HomeHelperError if none are found."""
    for _ in range(50):
        first = random.randrange(_PORTS_FROM, _PORTS_TO - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise HomeHelperError("no free ports for the demo")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
