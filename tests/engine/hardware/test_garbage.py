"""Whatever a sensor file holds, the reading is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hhtui.engine.hardware.sensors.firmware import parse_pmic, parse_temperature, parse_throttled
from hhtui.engine.hardware.sensors.temperature import degrees
from hhtui.engine.hardware.sensors.throttling import parse_bits
from hhtui.model.metrics import Hardware
from tests.engine.hardware.machines import Machine, lay_out

# Near to what the kernel writes, and far from it.
ALPHABET = b"0123456789-+.: \n\t\\x()cpukBMemTotalFaw=V/\0\xff\xc3e_infna"
NEAR = st.lists(st.sampled_from(ALPHABET), max_size=200).map(bytes)
SHORT = st.sampled_from(
    [
        b"",
        b"\0",
        b"-1",
        b"9" * 30,
        b"9" * 5000,
        b"nan",
        b"inf",
        b"1e308",
        b"0x",
        b"-",
        b"\xd9\xa1",
        b"1_0",
        b"- 1",
        b" 7 \n",
    ]
)
GARBAGE = st.one_of(st.binary(max_size=300), NEAR, SHORT)
BOARDS = ("raspberry-pi-3b-plus", "raspberry-pi-5", "intel-nuc", "amd-desktop")
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def all_files(machine: Machine) -> list[Path]:
    return sorted(path for path in machine.root.rglob("*") if path.is_file() and path.parent.name != "opt")


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return lay_out(request.param, tmp_path)


@QUICK
@given(data=st.data())
def test_garbage_in_any_file_never_raises_and_yields_valid_json(board: Machine, data: st.DataObject) -> None:
    files = all_files(board)
    sound = {path: path.read_bytes() for path in files}
    broken = data.draw(st.dictionaries(st.sampled_from(files), GARBAGE, min_size=1, max_size=4))
    reader = board.reader()
    try:
        for path, content in broken.items():
            path.write_bytes(content)
        # Garbage that comes while it runs, garbage from the start, and garbage that goes.
        readings = [reader.read()]
        other = board.reader()
        board.now += 100
        readings += [other.read(), reader.read()]
        for path, content in sound.items():
            path.write_bytes(content)
        board.now += 100
        readings += [other.read(), reader.read()]
        other.close()
    finally:
        reader.close()
    for reading in readings:
        # Sizes are whole numbers in JSON, so it is what is written that reads back the same.
        written = reading.model_dump_json()
        assert Hardware.model_validate_json(written).model_dump_json() == written
        temperature = reading.temperature.cpu_temp
        assert temperature is None or -60 <= temperature <= 200
        for share in (reading.cpu.usage_percent, reading.memory.percent, reading.disk.percent, reading.swap.percent):
            assert share is None or 0 <= share <= 100


@QUICK
@given(content=GARBAGE)
def test_no_parser_raises_on_any_bytes(content: bytes) -> None:
    parse_bits(content)
    text = content.decode("utf-8", "replace")
    parse_pmic(text)
    parse_throttled("throttled=0x" + text)
    parse_temperature(text)


@pytest.mark.parametrize(
    ("raw", "bits"),
    [
        (b"0\n", 0),
        (b"50005\n", 0x50005),
        (b"0x50005", 0x50005),
        (b"FFFFFFFF", 0xFFFFFFFF),
        (b"", None),
        (b"-1", None),
        (b"1ffffffff", None),
        (b"zz", None),
        (None, None),
    ],
)
def test_the_firmware_word_is_hexadecimal_or_nothing(raw: bytes | None, bits: int | None) -> None:
    assert parse_bits(raw) == bits


def test_a_sensor_that_is_not_there_is_not_a_temperature() -> None:
    assert [degrees(value) for value in (-274_000, 255_000, 2_147_483_647, None)] == [None] * 4
    assert degrees(0) == 0.0


@pytest.mark.parametrize(
    "name",
    ["sys/class/thermal/thermal_zone0/temp", "sys/class/hwmon/hwmon2/fan1_input"],
)
def test_a_folder_a_fifo_or_an_endless_device_in_a_files_place_does_not_block(tmp_path: Path, name: str) -> None:
    for kind in ("folder", "fifo", "endless"):
        here = lay_out("raspberry-pi-5", tmp_path / kind)
        (here.root / name).unlink()
        if kind == "folder":
            (here.root / name).mkdir()
        elif kind == "fifo":
            os.mkfifo(here.root / name)
        else:
            (here.root / name).symlink_to("/dev/zero")
        reader = here.reader()
        reading = reader.read()
        reader.close()
        assert reading.disk.total_gb is not None


def test_a_model_with_terminal_escapes_is_made_plain(tmp_path: Path) -> None:
    here = lay_out("virtual-machine", tmp_path)
    here.write("sys/firmware/devicetree/base/model", b"Rasp\x1b]52;c;aGk=\x07berry\x9b31m Pi\0junk")
    assert here.reader().read().board.model == "Rasp]52;c;aGk=berry31m Pi".replace("berry31m", "berry�31m")
