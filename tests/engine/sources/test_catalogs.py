"""Catalogues as files, some of them written by hand."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hhtui.engine.engine import Engine
from hhtui.engine.sources.jobs import remove_tree
from hhtui.errors import NotFoundError, NotSavedError


async def test_a_file_that_another_catalogue_was_copied_to_is_left_out_so_that_what_is_removed_is_gone(
    engine: Engine,
) -> None:
    engine.home.catalogs_dir.mkdir(parents=True)
    outside = engine.home.config_dir / "outside.json"
    outside.write_text("{}")
    names = {"mine": "mine", "copied": "mine", "odd": "../outside", "none": "", "LOUD": "LOUD"}
    for file, name in names.items():
        text = json.dumps({"name": name, "url": "https://localhost/x"})
        (engine.home.catalogs_dir / f"{file}.json").write_text(text)
    assert [catalog.name for catalog in engine.catalogs.known()] == ["examples", "mine"]
    assert engine.catalogs.remove("mine").name == "mine"
    assert [catalog.name for catalog in engine.catalogs.known()] == ["examples"]
    for gone in ("mine", "../outside"):
        with pytest.raises(NotFoundError):
            engine.catalogs.remove(gone)
    assert outside.exists()


async def test_what_the_disk_does_not_take_is_one_line_and_nothing_has_changed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    home = engine.home
    home.catalogs_dir.mkdir(parents=True)
    home.catalog_file("mine").write_text(json.dumps({"name": "mine", "url": "https://localhost/x"}))
    await engine.gateway.set_password("correct horse")
    before = (home.gateway_dir / "login.json").read_bytes()
    unlink, mkdir, opened = os.unlink, os.mkdir, os.open

    def read_only(call: Any) -> Any:
        def refused(path: Any, *more: Any, **named: Any) -> Any:
            if str(path).startswith(str(home.root)) and (call is not opened or more[0] & os.O_CREAT):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return call(path, *more, **named)

        return refused

    for name, call in (("unlink", unlink), ("mkdir", mkdir), ("open", opened)):
        monkeypatch.setattr(os, name, read_only(call))
    with pytest.raises(NotSavedError, match=r"mine\.json: cannot be removed: the disk is read-only"):
        engine.catalogs.remove("mine")
    with pytest.raises(NotSavedError, match="cannot be written: the disk is read-only"):
        await engine.adding.receive(chunks())
    for password in ("another horse", None):
        with pytest.raises(NotSavedError, match=r"is as it was: .*the disk is read-only"):
            await engine.gateway.set_password(password)
    remove_tree(home.root / "nothing")
    monkeypatch.undo()
    assert "mine" in [catalog.name for catalog in engine.catalogs.known()]
    assert (home.gateway_dir / "login.json").read_bytes() == before and engine.gateway.login.is_set
    assert "Traceback" not in caplog.text
