"""When it is measured, who is told, and what a sample holds."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.hardware import sampler as sampler_module
from hhtui.engine.hardware.app_usage import Root
from hhtui.engine.hardware.history import MetricsHistory
from hhtui.engine.hardware.reader import HardwareReader
from hhtui.engine.hardware.sampler import MetricsSampler, TrackedApp
from hhtui.model.app import ResourceUsage
from hhtui.model.metrics import SystemMetrics
from hhtui.model.redis import RedisStatus
from tests.engine.hardware.machines import Machine
from tests.engine.hardware.trees_of_processes import BUSY, tree
from tests.engine.homes import until


def make(
    apps: Sequence[TrackedApp] = (),
    *,
    reader: HardwareReader | None = None,
    interval: float = 60,
    publish: Callable[[SystemMetrics], None] | None = None,
    **more: Any,
) -> MetricsSampler:
    return MetricsSampler(
        reader or HardwareReader(), lambda: list(apps), RedisStatus, lambda: interval, publish, **more
    )


def tracked(root: Root, data_dir: Path | None = None, app_id: str = "app") -> TrackedApp:
    return TrackedApp(app_id, f"The {app_id}", "running", root.pid, root.start_ticks, data_dir)


async def test_a_sample_has_the_schema_documents_keys() -> None:
    sampler = make()
    document = json.loads((await sampler.current(0)).model_dump_json())
    await sampler.stop()
    assert document["timestamp"].endswith("Z")
    hardware = document["hardware"]
    assert {"usage_percent", "count", "per_cpu_percent"} <= hardware["cpu"].keys()
    assert {"total_mb", "available_mb", "used_mb", "percent"} == hardware["memory"].keys()
    assert {"total_gb", "free_gb", "used_gb", "percent"} <= hardware["disk"].keys()
    assert {"cpu_temp", "source"} <= hardware["temperature"].keys()
    assert {"name", "pid", "cpu_percent", "memory_mb", "status"} <= document["processes"][0].keys()
    assert {"status", "host", "port", "connected", "error"} <= document["redis_status"].keys()


async def test_the_busiest_app_comes_first_and_the_engine_last() -> None:
    with tree("import time; time.sleep(60)") as idle, tree(BUSY) as busy:
        asleep = TrackedApp("asleep", "Asleep", "stopped", None, None, None)
        sampler = make([tracked(idle, app_id="idle"), tracked(busy, app_id="busy"), asleep])
        await sampler.current(0)
        await asyncio.sleep(0.5)
        metrics = await sampler.current(0)
        await sampler.stop()
    assert [(row.app_id, row.status) for row in metrics.processes] == [
        ("busy", "running"),
        ("idle", "running"),
        (None, "running"),
    ]
    assert metrics.processes[-1].pid == os.getpid()
    assert (metrics.processes[-1].memory_mb or 0) > 10
    assert (metrics.apps["busy"].cpu_percent or 0) > 5
    assert metrics.apps["asleep"] == ResourceUsage()
    assert sampler.usage == metrics.apps


async def test_asking_again_at_once_gives_the_same_sample_and_later_a_new_one() -> None:
    sampler = make()
    first = await sampler.current(0)
    assert await sampler.current(0) is first
    await asyncio.sleep(0.3)
    assert await sampler.current(5) is first
    assert await sampler.current(0) is not first
    await sampler.stop()


async def test_it_measures_by_the_interval_and_faster_only_while_somebody_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler_module, "FIRST_AFTER", 0.05)
    monkeypatch.setattr(sampler_module, "WATCHED_INTERVAL", 0.1)
    published: list[SystemMetrics] = []
    sampler = make(publish=published.append)
    await sampler.start()
    await until(lambda: len(published) == 1)
    await asyncio.sleep(0.4)
    assert len(published) == 1
    with sampler.watching(), sampler.watching():
        await until(lambda: len(published) >= 4)
    seen = len(published)
    await asyncio.sleep(0.5)
    assert len(published) <= seen + 1
    await sampler.stop()


async def test_it_measures_on_after_an_error_and_says_it_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sampler_module, "FIRST_AFTER", 0.0)
    monkeypatch.setattr(sampler_module, "SHORTEST_INTERVAL", 0.02)
    published: list[SystemMetrics] = []
    attempts = 0

    def publish(metrics: SystemMetrics) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            raise RuntimeError("the bus is on fire")
        published.append(metrics)

    sampler = make(publish=publish, interval=0.02)
    with caplog.at_level(logging.ERROR):
        await sampler.start()
        await until(lambda: bool(published))
        await sampler.stop()
    assert len([record for record in caplog.records if "could not be sampled" in record.message]) == 1


async def test_a_stopped_sampler_leaves_no_task_and_no_file_open() -> None:
    tasks, files = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
    sampler = make()
    await sampler.start()
    await sampler.current(0)
    await sampler.stop()
    await sampler.stop()
    assert len(asyncio.all_tasks()) == tasks
    assert len(os.listdir("/proc/self/fd")) == files


async def test_the_data_folders_size_is_measured_and_not_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler_module, "FIRST_AFTER", 0.0)
    monkeypatch.setattr(sampler_module, "SHORTEST_INTERVAL", 0.05)
    (tmp_path / "file").write_bytes(os.urandom(2 * 2**20))
    published: list[SystemMetrics] = []
    with tree("import time; time.sleep(60)") as root:
        sampler = make([tracked(root, tmp_path)], interval=0.05, publish=published.append)
        await sampler.start()
        await until(lambda: bool(published) and published[-1].apps["app"].disk_mb is not None)
        assert 2 <= (sampler.usage["app"].disk_mb or 0) < 2.5
        (tmp_path / "more").write_bytes(os.urandom(2 * 2**20))
        seen = len(published)
        await until(lambda: len(published) > seen + 3)
        assert (sampler.usage["app"].disk_mb or 0) < 2.5
        monkeypatch.setattr(sampler_module, "FOLDER_INTERVAL", 0.0)
        await until(lambda: (sampler.usage["app"].disk_mb or 0) >= 4)
        assert ((await sampler.proportional_memory_mb("app")) or 0) > 1
        await sampler.stop()


async def test_what_a_folder_takes_is_reported_when_it_is_counted_and_not_with_the_next_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler_module, "FIRST_AFTER", 0.0)
    (tmp_path / "file").write_bytes(os.urandom(2**20))
    published: list[SystemMetrics] = []
    counted: list[float | None] = []
    with tree("import time; time.sleep(60)") as root:
        sampler = make(
            [tracked(root, tmp_path)],
            interval=3600,
            publish=published.append,
            on_folders=lambda usage: counted.append(usage["app"].disk_mb),
        )
        await sampler.start()
        await until(lambda: counted)
        await sampler.stop()
    assert len(published) == 1
    assert counted[0] is not None and counted[0] >= 1


async def test_a_change_of_the_power_supplys_state_is_told_once_in_words(machine: Callable[[str], Machine]) -> None:
    here = machine("raspberry-pi-3b-plus")
    word = "sys/devices/platform/soc/soc:firmware/get_throttled"
    here.write(word, "50000\n")
    told: list[dict[str, Any]] = []
    sampler = make(reader=here.reader(), on_throttled=told.append, clock=lambda: here.now)

    async def look(content: str) -> None:
        here.write(word, content)
        here.now += 10
        await sampler.current(0)

    # What was before the engine's start is no news.
    await look("50000\n")
    assert told == []
    await look("50005\n")
    await look("50005\n")
    assert [(each["began"], each["ended"], each["now"]) for each in told] == [
        (["under_voltage", "throttled"], [], ["under_voltage", "throttled"])
    ]
    assert told[0]["message"].startswith("under-voltage (the power supply gives too little)")
    assert told[0]["source"] == "firmware"
    await look("50000\n")
    assert told[1]["ended"] == ["under_voltage", "throttled"]
    assert told[1]["message"].startswith("over: under-voltage")
    # The temperature limit came and went between two looks.
    await look("d0000\n")
    assert (told[2]["passed"], told[2]["began"], told[2]["ended"]) == (["soft_temperature_limit"], [], [])
    assert len(told) == 3
    await sampler.stop()


async def test_what_holds_at_the_first_look_is_told(machine: Callable[[str], Machine]) -> None:
    told: list[dict[str, Any]] = []
    sampler = make(reader=machine("raspberry-pi-4b").reader(), on_throttled=told.append)
    await sampler.current(0)
    await sampler.stop()
    assert [each["began"] for each in told] == [["under_voltage", "throttled"]]


async def test_vcgencmd_is_asked_off_the_loop_and_shows_in_a_sample(machine: Callable[[str], Machine]) -> None:
    here = machine("raspberry-pi-5")
    sampler = make(reader=here.reader())
    await sampler.start()
    assert here.tool is not None
    await until(lambda: here.tool is not None and here.tool.power is not None)
    metrics = await sampler.current(0)
    await sampler.stop()
    assert metrics.hardware.power.input_volts == 5.0853
    assert metrics.hardware.throttling.source == "vcgencmd"


async def test_a_vcgencmd_that_hangs_does_not_hold_the_loop(machine: Callable[[str], Machine]) -> None:
    here = machine("raspberry-pi-5")
    (here.root / "opt/vcgencmd").write_text("#!/bin/sh\nexec sleep 30\n")
    sampler = make(reader=here.reader())
    await sampler.start()
    started = time.monotonic()
    metrics = await sampler.current(0)
    await sampler.stop()
    assert time.monotonic() - started < 10
    assert metrics.hardware.power.rails_watts is None


async def test_every_sample_goes_into_the_history(tmp_path: Path) -> None:
    history = MetricsHistory(tmp_path / "metrics.db")
    sampler = make(history=history)
    await sampler.current(0)
    points = await history.since(60)
    assert [point.memory_percent for point in points] == [(await sampler.current(60)).hardware.memory.percent]
    await sampler.stop()
