"""Private servers on ports of their own: no other worker's takes one that a killed server has just left."""

from __future__ import annotations

import pytest

from hhtui.engine.redis import private_files, private_server
from tests.engine.homes import free_ports


@pytest.fixture(autouse=True)
def ports(monkeypatch: pytest.MonkeyPatch) -> None:
    base = free_ports(20)
    for module in (private_files, private_server):
        monkeypatch.setattr(module, "PORTS", range(base, base + 20))
