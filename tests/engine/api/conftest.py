"""A running engine with three apps, its export, and a bare HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from hhtui.client.link import EngineLink
from hhtui.engine.engine import Engine
from tests.engine.api.bare_http import Answer, exchange
from tests.engine.homes import free_ports, make_app, make_home


@dataclass
class Served:
    """The engine and its two doors."""

    engine: Engine
    link: EngineLink
    export_port: int

    @property
    def socket(self) -> Path:
        return self.engine.home.engine_socket

    async def ask(self, request: str | bytes, export: bool = False) -> Answer:
        """Send ``request`` as it is; ``GET /x`` alone is made a whole HTTP/1.0 request."""
        return await exchange(self.export_port if export else self.socket, request)


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Apps: ``web`` sleeps on, ``secretive`` has a variable and arguments, ``broken`` has an invalid manifest."""
    port = free_ports(1)
    home = make_home(tmp_path / "home", system={"main_port": port})
    make_app(home, "web", 'echo "hello $HOMEHELPER_APP_ID"; echo "to stderr" >&2; exec sleep 1000')
    make_app(
        home,
        "secretive",
        environment={"TOKEN": "geheim-variable"},
        args=["--password", "geheim-argument"],
        my_own_field="geheim-field",
    )
    (home / "apps" / "broken").mkdir()
    (home / "apps" / "broken" / "homehelper.json").write_text('{"name": "Broken"')
    async with Engine(home) as engine:
        yield Served(engine, EngineLink(engine.home.engine_socket), port)
