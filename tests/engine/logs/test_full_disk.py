"""A full disk: the app waits, nothing is lost, the user is told, and it goes on when there is room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engine.logs.sets import Rig, content_of

ROOT = Path(__file__).parents[3]
NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def fill(kind: str, tmp_path: Path, prefix: list[str]) -> dict[str, Any]:
    result = subprocess.run(
        [*prefix, sys.executable, "-m", "tests.engine.logs.full_disk", kind, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert isinstance(answer, dict)
    return answer


def check(answer: dict[str, Any], reason: str) -> None:
    assert answer["whole"]
    assert answer["waits"]
    assert answer["told"] == len(answer["problems"]) == 1
    assert reason in answer["problems"][0]
    assert answer["stalled"] == ["full"]
    assert answer["recovered"] == ["full"]


def can_mount() -> bool:
    try:
        script = "mount -t tmpfs tmpfs /mnt"
        return subprocess.run([*NAMESPACE, "sh", "-c", script], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_a_full_file_system_stalls_its_app_alone_after_its_oldest_archives_went(tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("no file system may be mounted here, not even in a namespace")
    answer = fill("tmpfs", tmp_path, NAMESPACE)
    check(answer, "No space left on device")
    assert "app.log.1" not in answer["archives"]


def test_a_refused_write_stalls_its_app_alone_and_deletes_nothing(tmp_path: Path) -> None:
    answer = fill("limit", tmp_path, [])
    check(answer, "File too large")
    assert "app.log.1" in answer["archives"]


async def test_an_index_that_cannot_be_written_costs_times_only(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.write(b"one\n")

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("hhtui.engine.logs.index.os.pwrite", refuse)
        rig.write(b"two\n")
    rig.write(b"three\n")
    assert content_of(rig.logs) == b"one\ntwo\nthree\n"
    assert (rig.logs / "app.log.times").stat().st_size == 64 + 2 * 16
    assert not rig.problems
