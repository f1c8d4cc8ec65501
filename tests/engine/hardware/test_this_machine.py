"""The reader against psutil on the machine that runs the tests, and what a reading costs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from hhtui.engine.hardware.reader import HardwareReader
from hhtui.model.metrics import Hardware


@pytest.fixture(scope="module")
def reading() -> Hardware:
    reader = HardwareReader(home=Path.cwd())
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        sum(range(10_000))
    found = reader.read()
    reader.close()
    return found


def test_memory_and_swap_are_what_psutil_says(reading: Hardware) -> None:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    assert reading.memory.total_mb == pytest.approx(memory.total / 2**20, abs=0.1)
    assert reading.memory.available_mb == pytest.approx(memory.available / 2**20, rel=0.2)
    assert reading.swap.total_mb == pytest.approx(swap.total / 2**20, abs=0.1)


def test_the_roots_room_is_what_psutil_says(reading: Hardware) -> None:
    usage = psutil.disk_usage("/")
    assert reading.disk.total_gb == pytest.approx(usage.total / 2**30, abs=0.1)
    assert reading.disk.used_gb == pytest.approx(usage.used / 2**30, abs=1)
    assert reading.disk.percent == pytest.approx(usage.percent, abs=1)


def test_a_busy_half_second_shows_in_the_first_reading(reading: Hardware) -> None:
    assert reading.cpu.count == psutil.cpu_count()
    assert len(reading.cpu.per_cpu_percent) == psutil.cpu_count()
    # This process kept one core busy all the time.
    assert reading.cpu.usage_percent is not None
    assert reading.cpu.usage_percent >= 60 / os.cpu_count()  # type: ignore[operator]


def test_the_rest_is_what_psutil_says(reading: Hardware) -> None:
    assert reading.load.one_minute == pytest.approx(psutil.getloadavg()[0], abs=2)
    assert reading.uptime_seconds == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=30)
    counters = psutil.net_io_counters(pernic=True)
    assert {each.name for each in reading.network.interfaces} <= counters.keys() - {"lo"}
    for each in reading.network.interfaces:
        assert 0 <= counters[each.name].bytes_recv - each.received_bytes < 2**30
    assert reading.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_one_of_the_disks_holds_the_home(reading: Hardware) -> None:
    home = [disk for disk in reading.disks if "home" in disk.holds]
    assert len(home) == 1
    assert os.stat(home[0].mount).st_dev == Path.cwd().stat().st_dev
