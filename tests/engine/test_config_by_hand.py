"""The configuration's files edited by hand while the engine runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hhtui.engine.engine import Engine
from hhtui.model.event import Event, EventType
from tests.engine.homes import make_home, until


def written(path: Path, **values: Any) -> None:
    """As an editor does it: another file takes the place of the old one."""
    document = {**json.loads(path.read_text()), **values}
    temporary = path.with_name(".new")
    temporary.write_text(json.dumps(document))
    os.rename(temporary, path)


async def test_an_edit_of_what_the_file_links_to_is_taken_up_time_and_again(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    file, target = home / "config" / "config.json", tmp_path / "dotfiles" / "hh.json"
    target.parent.mkdir()
    os.rename(file, target)
    file.symlink_to(target)
    async with Engine(home) as engine:
        for seconds in (31, 32, 33):
            written(target, metrics_interval_seconds=seconds)
            await until(lambda expected=seconds: engine.config.metrics_interval_seconds == expected)
        await engine.settings.change({"metrics_interval_seconds": 34})
        assert file.is_symlink()
        assert json.loads(target.read_text())["metrics_interval_seconds"] == 34
        # The link is led elsewhere.
        other = tmp_path / "other.json"
        other.write_bytes(target.read_bytes())
        written(other, metrics_interval_seconds=35)
        (home / "config" / "new").symlink_to(other)
        os.rename(home / "config" / "new", file)
        await until(lambda: engine.config.metrics_interval_seconds == 35)


async def test_a_half_written_file_is_no_problem_until_it_is_left_so(engine: Engine) -> None:
    file = engine.home.config_file
    whole = file.read_text()
    file.write_text(whole[:30])
    await until(lambda: engine.settings.problems)
    assert "not valid JSON" in engine.about.info().problems[-1]
    file.write_text(whole.replace('"redis": {', '"metrics_interval_seconds": 41, "redis": {'))
    await until(lambda: engine.config.metrics_interval_seconds == 41)
    assert engine.settings.problems == []
    (engine.home.dotenv).write_text("HOMEHELPER_METRICS_INTERVAL_SECONDS=42\n")
    await until(lambda: engine.config.metrics_interval_seconds == 42)


async def test_a_change_names_what_waits_for_a_restart_once(engine: Engine) -> None:
    told: list[Event] = []
    engine.bus.add_listener(lambda message: told.append(message.event) if message.event else None)
    await engine.settings.change({"system": {"host": "127.0.0.2"}})
    await engine.settings.change({"metrics_interval_seconds": 43})
    changes = [event.data for event in told if event.event_type == EventType.CONFIG_CHANGED]
    assert [data["restart_needed"] for data in changes] == [["system.host"], []]
    assert engine.settings.view().restart_needed == ["system.host"]
