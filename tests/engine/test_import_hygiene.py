"""The engine stays small: a running one has loaded no interface, no command line and no HTTP client library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.engine.homes import make_app, make_home

RUN = """
import asyncio, sys
from pathlib import Path
from hhtui.engine.engine import Engine
async def main():
    async with Engine(Path(sys.argv[1])) as engine:
        while not engine.apps() or engine.apps()[0].status != "running":
            await asyncio.sleep(0.02)
        await engine.sampler.current(2.0)
asyncio.run(main())
print("\\n".join(sys.modules))
"""


def test_a_running_engine_loads_no_textual_and_no_client(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "lamp", autostart=True)
    result = subprocess.run(
        [sys.executable, "-c", RUN, str(home)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    loaded = {name.split(".")[0] for name in result.stdout.split()} | set(result.stdout.split())
    assert "starlette" in loaded, "the list of modules is complete"
    forbidden = {"textual", "rich", "httpx", "hhtui.tui", "hhtui.cli", "hhtui.client"}
    # Of the gateway, where it is off.
    forbidden |= {"zeroconf", "argon2"}
    assert forbidden & loaded == set()
