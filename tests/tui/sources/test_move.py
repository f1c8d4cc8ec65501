"""Moving an app from the interface: which machine, and how a move ends that was broken off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tui.fake import FakeTransport
from tests.tui.screen import running


async def test_the_machines_that_are_known_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "hhtui").mkdir()
    (tmp_path / "hhtui" / "hosts.json").write_text(json.dumps({"hosts": [{"host": "-x", "home": None}]}))
    async with running() as session:
        await session.on("thermometer")
        await session.press("W")
        # Not the file's path, which may be wrapped anywhere.
        await session.shows("'-x':")
        known = {"hosts": [{"host": "pi@kitchen", "home": "/srv/home"}]}
        (tmp_path / "hhtui" / "hosts.json").write_text(json.dumps(known))
        await session.press("W")
        await session.shows("To the home on which machine?", "pi@kitchen:/srv/home", "another one")
        await session.press("o")
        await session.shows("move to [user@]host:")


@pytest.mark.parametrize(("phase", "words"), [("handed", "finish it"), ("ready", "It came from")])
async def test_a_move_that_was_broken_off_is_ended_here(phase: str, words: str) -> None:
    transport = FakeTransport()
    transport.mark = {"token": "f" * 32, "phase": phase, "other": "kitchen:/srv/home"}
    async with running(transport) as session:
        await session.on("thermometer")
        await session.press("W")
        await session.shows(words, "kitchen:/srv/home", "it is this home's")
        await session.press("k")
        await session.shows("is this home's.")
        assert "keep " + "f" * 32 in session.transport.requests
