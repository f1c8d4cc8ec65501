"""What the reader makes of real machines' files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.engine.hardware.machines import Machine

NOTHING_HOLDS = dict.fromkeys(("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit"), False)
UNKNOWN = dict.fromkeys(NOTHING_HOLDS)

# Ten seconds lie between the two looks. A name ending in * lists only the keys to compare.
EXPECTED: dict[str, dict[str, Any]] = {
    "raspberry-pi-3b-plus": {
        "board": {"model": "Raspberry Pi 3 Model B Plus Rev 1.3", "raspberry_pi": True, "kernel": "6.1.21-v8+"},
        "cpu": {
            "usage_percent": 5.0,
            "count": 4,
            "per_cpu_percent": [20.0, 0.0, 0.0, 0.0],
            "frequency_mhz": 600.0,
            "frequency_max_mhz": 1400.0,
        },
        "load": {"one_minute": 0.20, "five_minutes": 0.18, "fifteen_minutes": 0.12},
        "memory": {"total_mb": 904.9, "available_mb": 662.4, "used_mb": 242.5, "percent": 26.8},
        "swap": {"total_mb": 100.0, "free_mb": 75.0, "used_mb": 25.0, "percent": 25.0},
        "disk": {"total_gb": 29.09, "free_gb": 17.55, "used_gb": 10.01, "percent": 36.3},
        "disks": [
            {
                "mount": "/",
                "device": "/dev/mmcblk0p2",
                "filesystem": "ext4",
                "kind": "sd",
                "holds": ["root", "home"],
                "read_only": False,
                "read_bytes_per_second": 10240.0,
                "write_bytes_per_second": 204800.0,
            }
        ],
        "network": {"received_bytes_per_second": 1024.0, "sent_bytes_per_second": 256.0},
        "network.interfaces.1": {"name": "wlan0", "received_bytes": 1010240, "received_bytes_per_second": 1024.0},
        "temperature": {
            "cpu_temp": 47.2,
            "source": "thermal_zone",
            "sensor": "cpu-thermal",
            "sensors": {"cpu-thermal": 47.2},
        },
        "throttling": {"now": NOTHING_HOLDS, "since_boot": NOTHING_HOLDS, "source": "firmware"},
        "fan": {"rpm": None, "percent": None, "source": None},
        "power": {"rails_watts": None, "input_volts": None, "source": None, "rails": {}},
        "": {"uptime_seconds": 355602.11, "boot_id": "1d1a2b42-60a8-4d0b-8b5e-6a1f0b5f9a11"},
    },
    "raspberry-pi-4b": {
        "board": {"model": "Raspberry Pi 4 Model B Rev 1.4", "raspberry_pi": True},
        # Idle and iowait are idle, nice is not: 3900 of 4000.
        "cpu": {"usage_percent": 97.5, "per_cpu_percent": [100.0, 100.0, 100.0, 90.0], "frequency_mhz": 1500.0},
        "memory": {"percent": 75.0, "total_mb": 3793.3},
        "swap": {"total_mb": 0.0, "used_mb": 0.0, "percent": None},
        "disk": {"percent": 96.4},
        "disks": [
            {
                "mount": "/",
                "device": "/dev/sda2",
                "kind": "usb",
                "holds": ["root", "home"],
                "write_bytes_per_second": 2048000.0,
            },
            {"mount": "/media/pi/old card", "kind": "sd", "holds": [], "read_only": True, "total_gb": 14.88},
        ],
        # What the containers' bridges carried would be counted twice.
        "network": {"received_bytes_per_second": 12_500_000.0, "sent_bytes_per_second": 125_000.0},
        "temperature": {"cpu_temp": 81.8, "source": "thermal_zone"},
        "throttling": {
            "now": NOTHING_HOLDS | {"under_voltage": True, "throttled": True},
            "since_boot": NOTHING_HOLDS | {"under_voltage": True, "throttled": True},
            "source": "firmware",
        },
        "fan": {"rpm": None, "percent": 50.2, "source": "pwmfan"},
    },
    "raspberry-pi-5": {
        "board": {"model": "Raspberry Pi 5 Model B Rev 1.0", "raspberry_pi": True},
        "cpu": {"usage_percent": 2.5, "frequency_mhz": 2400.0},
        "disks": [
            {
                "mount": "/",
                "device": "/dev/nvme0n1p2",
                "kind": "nvme",
                "holds": ["root"],
                "read_bytes_per_second": 1024000.0,
            },
            {"mount": "/opt/homehelper", "kind": "sd", "holds": ["home"], "write_bytes_per_second": 10240.0},
        ],
        "network": {"received_bytes_per_second": 300.0, "sent_bytes_per_second": 300.0},
        "temperature": {"cpu_temp": 52.4, "sensors": {"cpu-thermal": 52.4, "rp1_adc": 55.5}},
        # vcgencmd's memory of what was; the kernel's alarm says that the supply is well now.
        "throttling": {
            "now": NOTHING_HOLDS,
            "since_boot": NOTHING_HOLDS | {"under_voltage": True, "throttled": True},
            "source": "vcgencmd",
        },
        "fan": {"rpm": 3054, "percent": 29.4, "source": "pwmfan"},
        "power": {"input_volts": 5.0853, "core_volts": 0.7494, "rails_watts": 2.2822, "estimated_watts": 3.2013},
        "power.rails.EXT5V": {"volts": 5.0853, "amperes": None},
        "power.rails.VDD_CORE": {"volts": 0.7494, "amperes": 1.1162},
    },
    "raspberry-pi-zero-2": {
        "board": {"model": "Raspberry Pi Zero 2 W Rev 1.0", "raspberry_pi": True},
        "cpu": {"usage_percent": 50.0, "per_cpu_percent": [100.0, 100.0, 0.0, 0.0]},
        "memory": {"percent": 75.0},
        "swap": {"percent": 100.0},
        "disks": [
            {"mount": "/", "kind": "sd", "read_only": True, "holds": ["root"], "read_bytes_per_second": 0.0},
            {
                "mount": "/opt/homehelper",
                "device": "nas:/homehelper",
                "kind": "network",
                "holds": ["home"],
                "total_gb": 976.56,
            },
        ],
        # The stick was pulled and put back: its counter fell, so what it received meanwhile is not known.
        "network": {"received_bytes_per_second": None, "sent_bytes_per_second": 50.0},
        "temperature": {"cpu_temp": 80.1},
        "throttling": {
            "now": NOTHING_HOLDS | {"frequency_capped": True, "soft_temperature_limit": True},
            "since_boot": NOTHING_HOLDS | {"frequency_capped": True, "soft_temperature_limit": True},
            "source": "firmware",
        },
    },
    "compute-module-4": {
        "board": {"model": "Raspberry Pi Compute Module 4 Rev 1.0", "raspberry_pi": True, "kernel": None},
        # No tick passed between the looks.
        "cpu": {"usage_percent": None, "per_cpu_percent": [], "count": 1, "frequency_mhz": None},
        "memory": {"percent": 55.0},
        "swap": {"total_mb": None},
        "disks": [{"mount": "/", "kind": "emmc", "percent": 0.0, "read_bytes_per_second": None}],
        "temperature": {"cpu_temp": 48.3, "source": "vcgencmd", "sensors": {}},
        "throttling": {
            "now": NOTHING_HOLDS | {"frequency_capped": True},
            "since_boot": NOTHING_HOLDS | {"frequency_capped": True},
            "source": "vcgencmd",
        },
        "power": {"rails_watts": None, "rails": {}},
        "network": {"received_bytes_per_second": None, "interfaces": []},
        "load": {"one_minute": None},
    },
    "intel-nuc": {
        "board": {"model": "Intel(R) Client Systems NUC8i3BEH", "raspberry_pi": False},
        # Guest time is part of user time already: 500 busy ticks of 2000.
        "cpu": {
            "usage_percent": 25.0,
            "per_cpu_percent": [50.0, 0.0],
            "frequency_mhz": 2000.0,
            "frequency_max_mhz": 3600.0,
        },
        "disks": [{"mount": "/", "device": "/dev/dm-0", "kind": "ssd", "holds": ["root", "home"]}],
        # The sleeping disk's own sensor is not asked.
        "temperature": {
            "cpu_temp": 49.0,
            "source": "thermal_zone",
            "sensor": "x86_pkg_temp",
            "sensors": {
                "x86_pkg_temp": 49.0,
                "coretemp Package id 0": 49.0,
                "acpitz": 27.8,
                "coretemp Core 0": 47.0,
                "nvme Composite": 38.9,
            },
        },
        "throttling": {"now": UNKNOWN, "since_boot": UNKNOWN, "source": None},
    },
    "amd-desktop": {
        "board": {"model": "ASRock B450M Pro4"},
        "cpu": {"usage_percent": 0.0, "per_cpu_percent": [0.0]},
        "disks": [{"mount": "/", "device": "/dev/sda2", "filesystem": "btrfs", "kind": "hdd"}],
        "temperature": {
            "cpu_temp": 39.5,
            "source": "hwmon",
            "sensor": "k10temp Tctl",
            "sensors": {"k10temp Tctl": 39.5},
        },
        "fan": {"rpm": 1180, "percent": 40.0, "source": "nct6779"},
    },
    "virtual-machine": {
        "board": {"model": None, "raspberry_pi": False},
        "cpu": {"usage_percent": 10.0, "frequency_mhz": None},
        "disks": [{"mount": "/", "device": "/dev/vda", "kind": "disk", "percent": 50.0}],
        "network": {"received_bytes_per_second": 10.0, "sent_bytes_per_second": 5.0},
        "temperature": {"cpu_temp": None, "source": None, "sensors": {}},
        "fan": {"rpm": None, "percent": None},
        "throttling": {"now": UNKNOWN, "since_boot": UNKNOWN, "source": None},
        "": {"boot_id": None},
    },
    "bare": {
        "cpu": {"usage_percent": None, "count": None, "per_cpu_percent": []},
        "memory": {"total_mb": None, "percent": None},
        "disk": {"total_gb": None, "percent": None},
        "": {"disks": [], "uptime_seconds": None, "boot_id": None},
        "temperature": {"cpu_temp": None},
    },
}


@pytest.mark.parametrize("board", EXPECTED)
def test_a_board_is_read_as_it_is(board: str, machine: Callable[[str], Machine]) -> None:
    here = machine(board)
    reader = here.reader()
    if reader.has_slow_part:
        reader.read_slow_part()
    here.pass_time(10)
    reading = reader.read().model_dump()
    reader.close()
    for name, expected in EXPECTED[board].items():
        part: Any = reading
        for key in filter(None, name.split(".")):
            part = part[int(key)] if key.isdigit() else part[key]
        if isinstance(expected, list):
            assert len(part) == len(expected), name
            assert [{key: got[key] for key in want} for got, want in zip(part, expected, strict=True)] == expected, name
        else:
            assert {key: part[key] for key in expected} == expected, name


def test_a_home_on_a_network_server_is_never_asked_on_the_loop(machine: Callable[[str], Machine]) -> None:
    here = machine("raspberry-pi-zero-2")
    reader = here.reader()
    reading = reader.read()
    assert "/opt/homehelper" not in here.asked
    assert reading.disks[1].total_gb is None
    assert reader.has_slow_part


def test_an_alarm_without_the_firmware_knows_of_under_voltage_alone_and_remembers_it(
    machine: Callable[[str], Machine],
) -> None:
    here = machine("raspberry-pi-5")
    here.tool = None
    here.write("sys/class/hwmon/hwmon3/in0_lcrit_alarm", "1\n")
    reader = here.reader()
    state = reader.read().throttling
    assert (state.source, state.now.under_voltage, state.now.throttled) == ("hwmon", True, None)
    here.write("sys/class/hwmon/hwmon3/in0_lcrit_alarm", "0\n")
    state = reader.read().throttling
    assert (state.now.under_voltage, state.since_boot.under_voltage, state.since_boot.throttled) == (False, True, None)


def test_what_the_firmware_file_showed_once_stays_known_since_boot(machine: Callable[[str], Machine]) -> None:
    here = machine("raspberry-pi-4b")
    reader = here.reader()
    reader.read()
    here.write("sys/devices/platform/soc/soc:firmware/get_throttled", "0\n")
    state = reader.read().throttling
    assert state.now.names() == []
    assert state.since_boot.names() == ["under_voltage", "throttled"]


def test_a_driver_that_comes_late_is_found_and_one_that_goes_is_missed_without_an_error(
    machine: Callable[[str], Machine],
) -> None:
    here = machine("virtual-machine")
    reader = here.reader()
    assert reader.read().temperature.cpu_temp is None
    here.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    here.write("sys/class/thermal/thermal_zone0/temp", "41000\n")
    here.now += 61
    assert reader.read().temperature.cpu_temp == 41.0
    (here.root / "sys/class/thermal/thermal_zone0/temp").unlink()
    (here.root / "sys/class/thermal/thermal_zone0/type").unlink()
    here.now += 61
    assert reader.read().temperature.cpu_temp is None


def test_vcgencmd_that_fails_is_left_alone_for_ten_minutes(machine: Callable[[str], Machine]) -> None:
    here = machine("raspberry-pi-5")
    assert here.tool is not None
    program = here.root / "opt/vcgencmd"
    working = program.read_text()
    program.write_text(f"#!/bin/sh\necho x >> {here.root}/calls\nexit 255\n")
    for _ in range(3):
        here.tool.ask()
        here.now += 100
    assert (here.root / "calls").read_text() == "x\n"
    assert (here.tool.throttled, here.tool.power) == (None, None)
    program.write_text(working)
    here.now += 600
    here.tool.ask()
    assert here.tool.throttled == 0x50000


def test_vcgencmd_is_looked_for_only_on_a_live_pi(machine: Callable[[str], Machine]) -> None:
    here = machine("raspberry-pi-3b-plus")
    assert not here.reader().has_slow_part


def test_a_reader_gives_its_files_back(machine: Callable[[str], Machine]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    reader = machine("raspberry-pi-5").reader()
    reader.read()
    assert before < len(os.listdir("/proc/self/fd")) < before + 40
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before
