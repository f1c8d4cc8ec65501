"""The gateway's password, whatever is given as one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from hhtui.engine.gateway.login import Login
from hhtui.errors import InvalidInputError


async def test_what_cannot_be_a_password_is_refused_and_the_one_before_stays(tmp_path: Path) -> None:
    login = Login(tmp_path / "gateway" / "login.json")
    await login.set_password("correct horse")
    for refused in ("abcdefgh\udcff", "\ud800" * 8, "short", "", "x" * 1001):
        with pytest.raises(InvalidInputError):
            await login.set_password(refused)
    assert await login.check("correct horse", "10.0.0.1")


async def test_of_passwords_set_at_once_the_one_in_force_is_the_one_on_disk(tmp_path: Path) -> None:
    login, passwords = Login(tmp_path / "gateway" / "login.json"), [f"password {number}" for number in range(4)]
    await asyncio.gather(*(login.set_password(password) for password in [*passwords, None, *passwords]))
    read = Login(tmp_path / "gateway" / "login.json")
    assert read.read() is None and read.is_set
    for password in passwords:
        assert await login.check(password, "10.0.0.1") == await read.check(password, "10.0.0.2")


async def test_a_password_that_is_taken_away_is_off_the_disk_when_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login, synced = Login(tmp_path / "gateway" / "login.json"), list[str]()
    await login.set_password(None)
    await login.set_password("correct horse")
    fsync = os.fsync

    def seen(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    await login.set_password(None)
    assert not login.is_set and synced == [str(tmp_path / "gateway")]
    assert list((tmp_path / "gateway").iterdir()) == []
