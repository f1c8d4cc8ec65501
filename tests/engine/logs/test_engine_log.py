"""The engine's own log."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.logs.engine_log import EngineLog, PerformanceLog
from hhtui.engine.logs.rotation import LogLimits
from hhtui.model.app import ResourceUsage
from hhtui.model.config import LoggingConfig
from hhtui.model.event import utc_now
from hhtui.model.metrics import SystemMetrics
from hhtui.paths import Home

FORMAT = "%(levelname)s [%(name)s] %(message)s"
log = logging.getLogger("homehelper.engine")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path, environ={})


@pytest.fixture
def published() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def engine_log(home: Home, published: list[dict[str, Any]]) -> Iterator[EngineLog]:
    made = EngineLog(home, LoggingConfig(format=FORMAT), published.append, console=False)
    made.start()
    yield made
    made.stop()


def test_records_stand_in_main_log_by_the_configured_format(home: Home, engine_log: EngineLog) -> None:
    log.info("engine %s starts", "1.0")
    log.debug("not this")
    assert home.engine_log.read_text() == "INFO [homehelper.engine] engine 1.0 starts\n"


def test_the_system_logs_have_their_part_of_it(home: Home, engine_log: EngineLog) -> None:
    logging.getLogger("hhtui.engine.discovery.discovery").info("found")
    logging.getLogger("hhtui.engine.hardware.sampler").warning("hot")
    logging.getLogger("homehelper.health").info("well")
    for name, word in (("discovery", "found"), ("performance", "hot"), ("health", "well")):
        assert (home.system_logs_dir / f"{name}.log").read_text().split()[-1] == word
    assert len(home.engine_log.read_text().splitlines()) == 3


def test_figures_stand_in_performance_log_four_times_an_hour(home: Home, engine_log: EngineLog) -> None:
    now = 0.0
    performance = PerformanceLog(clock=lambda: now)
    metrics = SystemMetrics(timestamp=utc_now(), apps={"lamp": ResourceUsage(cpu_percent=2.5, memory_mb=20)})
    metrics.hardware.cpu.usage_percent = 42.4
    for minute in range(61):
        now = minute * 60.0
        performance.measured(metrics)
    lines = (home.system_logs_dir / "performance.log").read_text().splitlines()
    assert lines == ["INFO [homehelper.performance] cpu 42 %, 0 apps run, apps cpu 2.5 %, apps memory 20 MiB"] * 5
    assert not home.engine_log.exists(), "main.log is for what happens"


def test_a_record_cannot_forge_lines_or_reach_a_terminal(home: Home, engine_log: EngineLog) -> None:
    log.info("app says %s", "hi\nINFO [homehelper.engine] forged\x1b]52;c;x\x07")
    try:
        raise ValueError("bad\x1b[2J")
    except ValueError:
        log.exception("it failed")
    text = home.engine_log.read_text()
    assert "\x1b" not in text
    assert text.splitlines()[0] == "INFO [homehelper.engine] app says hi␊INFO [homehelper.engine] forged␛]52;c;x␇"
    assert text.splitlines()[-1] == "ValueError: bad␛[2J"


def test_warnings_are_published_and_a_listener_that_logs_or_fails_does_no_harm(home: Home) -> None:
    heard: list[str] = []

    def listen(record: dict[str, Any]) -> None:
        heard.append(f"{record['level']} {record['logger']} {record['message']}")
        log.error("the listener complains")
        raise RuntimeError("and fails")

    made = EngineLog(home, LoggingConfig(), listen, console=False)
    made.start()
    log.info("quiet")
    log.warning("loud %s", "\x1b")
    made.stop()
    assert heard == ["WARNING homehelper.engine loud ␛"]


def test_a_changed_configuration_holds_at_once(home: Home, engine_log: EngineLog) -> None:
    engine_log.configure(LoggingConfig(level="DEBUG", format="now %(message)s"))
    log.debug("seen")
    engine_log.configure(LoggingConfig(level="ERROR", format="now %(message)s"))
    log.warning("unseen")
    assert home.engine_log.read_text() == "now seen\n"


def test_the_log_rotates_and_keeps_so_many_files(home: Home, engine_log: EngineLog) -> None:
    engine_log.configure(LoggingConfig(max_bytes=65_536, max_files=2, format="%(message)s"))
    for number in range(3000):
        log.info("%d %s", number, "x" * 100)
    names = sorted(path.name for path in home.engine_log_dir.iterdir())
    assert names == ["main.log", "main.log.1", "main.log.2"]
    assert all(path.stat().st_size <= 65_536 for path in home.engine_log_dir.iterdir())


def test_deleted_files_and_folders_are_made_anew(home: Home, engine_log: EngineLog) -> None:
    log.info("one")
    home.engine_log.unlink()
    log.info("two")
    assert "two" in home.engine_log.read_text()
    shutil.rmtree(home.logs_dir)
    log.info("three")
    assert "three" in home.engine_log.read_text()


@pytest.mark.parametrize("room", range(7, 40, 4))
def test_a_full_disk_costs_whole_records_and_never_a_traceback(tmp_path: Path, room: int) -> None:
    script = """
import logging, resource, sys
from pathlib import Path
from hhtui.engine.logs.engine_log import EngineLog
from hhtui.model.config import LoggingConfig
from hhtui.paths import Home
home = Home.at(Path(sys.argv[1]), environ={})
made = EngineLog(home, LoggingConfig(format="%(message)s"), None, console=False)
made.start()
log = logging.getLogger("homehelper.engine")
log.info("before")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
for _ in range(100):
    log.error("lost")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.info("after")
made.stop()
"""
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(room)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    lost = "lost\n" * ((room - len("before\n")) // len("lost\n"))
    assert (tmp_path / "logs/homehelper/main.log").read_text() == f"before\n{lost}after\n"


def test_a_closed_stderr_is_no_trouble(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    closed = (tmp_path / "closed").open("w")
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    made = EngineLog(home, LoggingConfig(), None)
    made.start()
    log.warning("still written")
    made.stop()
    assert "still written" in home.engine_log.read_text()


def test_stopping_gives_the_loggers_back(home: Home) -> None:
    before = (log.getEffectiveLevel(), list(logging.getLogger("homehelper").handlers))
    made = EngineLog(home, LoggingConfig(level="DEBUG"), None)
    made.start()
    made.stop()
    assert (log.getEffectiveLevel(), list(logging.getLogger("homehelper").handlers)) == before


def test_the_limits_are_the_configurations() -> None:
    config = LoggingConfig(max_bytes=70_000, max_files=4, app_retention_days=3, system_retention_days=2)
    assert LogLimits.of(config) == LogLimits(70_000, 4, 3, 2)
