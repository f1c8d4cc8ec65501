"""Whatever moment the engine dies at: no line is lost, doubled or torn."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hhtui.engine.logs.reader import read_page
from hhtui.model.log import LogQuery
from tests.engine.logs.sets import check_indexes, content_of, files_of

ROOT = Path(__file__).parents[3]
APPS = ("one", "two", "three")
WRITER = """
import os, random, sys, time
out, err, stop = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
number = 0
while not os.path.exists(stop):
    for _ in range(random.randrange(1, 60)):
        number += 1
        os.write(out, b"out %d %s end\\n" % (number, b"x" * random.randrange(120)))
        if number % 5 == 0:
            os.write(err, b"err %d end\\n" % (number // 5))
    time.sleep(0.001)
print(number)
"""


def a_capturer(tmp_path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.engine.logs.capturer", str(tmp_path / "f"), str(tmp_path / "l"), "65536", *APPS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_thirty_kills_of_the_engine_lose_double_and_tear_nothing(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    capturer = a_capturer(tmp_path)
    writers = []
    for app in APPS:
        fds = [os.open(tmp_path / "f" / f"{app}.{suffix}", os.O_RDWR) for suffix in ("out", "err")]
        arguments = [sys.executable, "-S", "-c", WRITER, *map(str, fds), str(stop)]
        writers.append(subprocess.Popen(arguments, pass_fds=fds, stdout=subprocess.PIPE, text=True))
        for descriptor in fds:
            os.close(descriptor)
    try:
        for _ in range(30):
            time.sleep(random.uniform(0.001, 0.06))  # the random moment is the test
            capturer.kill()
            capturer.wait()
            assert capturer.stdout is not None
            capturer.stdout.close()
            capturer = a_capturer(tmp_path)
        stop.touch()
        written = [int(writer.communicate(timeout=60)[0]) for writer in writers]
    finally:
        stop.touch()
        for writer in writers:
            writer.wait(60)
        capturer.terminate()
        capturer.wait(60)
        assert capturer.stdout is not None
        capturer.stdout.close()
    rotations = 0
    for app, count in zip(APPS, written, strict=True):
        logs = tmp_path / "l" / app
        for name, word, total in (("app", "out", count), ("error", "err", count // 5)):
            lines = content_of(logs, name).decode().splitlines()
            assert all(re.fullmatch(rf"{word} \d+ (x* )?end", line) for line in lines)
            numbers = [int(line.split()[1]) for line in lines]
            assert numbers == list(range(1, total + 1))
            rotations += len(files_of(logs, name)) - 1
            check_indexes(logs, name)
            for path in files_of(logs, name)[:-1]:
                assert path.read_bytes().endswith(b"\n")
            page = read_page(logs, app, name, LogQuery())
            assert page.total_lines == total
            assert all(line.time is not None for line in page.lines)
    assert rotations >= 10


@pytest.mark.parametrize("keep", [100, 3])
def test_a_kill_before_any_system_call_of_a_rotation_is_carried_on_from(tmp_path: Path, keep: int) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.engine.logs.kill_steps", str(tmp_path), str(keep)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 50
