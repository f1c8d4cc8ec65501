"""One folder read: hostile manifests, ids and clashes."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

from hhtui.engine.discovery.found_app import identify, read_app
from tests.engine.discovery.folders import found_at, write_app


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "not valid JSON: the file is empty"),
        (b"[]", "must be a JSON object, not a list"),
        (b"null", "must be a JSON object, not null"),
        (b'{"name": "caf\xe9"}', "not UTF-8 (byte 13)"),
        (b" " * (256 * 1024 + 1), "larger than 256.0 KiB"),
        (b'{"a":' * 100_000, "larger than 256.0 KiB"),
        (b"[" * 200_000, "not valid JSON: nested too deeply"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested more than 64 levels deep"),
        (b'{"a": NaN}', "not valid JSON: NaN is no JSON number"),
        (b'{"a": 1e999}', "not valid JSON: 1e999 is no JSON number"),
        (b'{"a": "\\ud800"}', "holds half of a surrogate pair (\\ud800 to \\udfff), which is no character"),
        (b'{"type": "service"}', "name: field required"),
        (b'{"name": "x", "type": "daemon"}', "type: input should be 'service' or 'streamlit', got 'daemon'"),
        (b'{"name": "x", "type": "service", "main": "../x.py"}', "main: '../x.py' lies outside the app's folder"),
        (b'{"name": "x", "type": "service", "main": "no.py"}', "main: the app's folder has no file 'no.py'"),
        (b'{"name": "x", "type": "service", "main": "loop"}', None),
        (b'{"name": "x", "type": "service", "main": "' + b"a" * 300 + b'"}', None),
        (b'{"name": "x", "type": "service", "main": "app.py\\u0000"}', None),
        (b'{"name": "x", "type": "service", "requirements": "/etc/passwd"}', None),
        (b'{"name": "x", "type": "service", "requirements": "r\\u0000"}', None),
        (b'{"name": "x", "type": "service", "stop": {"signal": ' + b"9" * 400 + b"}}", None),
        (b'{"name": "x", "type": "service", "stop": {"timeout_seconds": ' + b"9" * 400 + b"}}", None),
        (b'{"name": "x", "type": "service", "x": ' + b"9" * 5000 + b"}", None),
        (b'{"name": "x", "type": {"a": []}, "restart": [1], "endpoints": "no"}', None),
    ],
    ids=itertools.count(),
)
def test_a_broken_manifest_gives_one_line_with_file_field_and_reason(
    tmp_path: Path, content: bytes, error: str | None
) -> None:
    folder = write_app(tmp_path, "app")
    (folder / "loop").symlink_to("loop")
    (folder / "homehelper.json").write_bytes(content)
    app = found_at(folder)
    assert app.manifest is None
    assert app.error is not None
    assert app.error.startswith("homehelper.json: ")
    assert "\n" not in app.error
    assert len(app.error) <= 400
    if error is not None:
        assert app.error == f"homehelper.json: {error}"
    # What is kept of it can always be written to the registry.
    json.dumps(app.raw, allow_nan=False, ensure_ascii=False).encode()


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    folder = write_app(tmp_path, "app")
    text = (folder / "homehelper.json").read_bytes()
    (folder / "homehelper.json").write_bytes(b"\xef\xbb\xbf" + text)
    assert found_at(folder).error is None


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("")
    folder = write_app(tmp_path, "app", main="inside.py")
    (folder / "inside.py").symlink_to(tmp_path / "outside.py")
    assert found_at(folder).error == "homehelper.json: main: 'inside.py' lies outside the app's folder"


def test_unknown_fields_are_warnings_and_escapes_in_them_are_shown(tmp_path: Path) -> None:
    app = found_at(write_app(tmp_path, "app", **{"col\x1b[31mour": 1}))
    assert app.error is None
    assert app.warnings == ["homehelper.json: unknown field col␛[31mour is kept but has no effect"]


def test_the_fields_that_the_interface_groups_by_give_no_warning(tmp_path: Path) -> None:
    assert found_at(write_app(tmp_path, "app", group="garden", tags=["water"])).warnings == []


def ids(*folders: Path) -> dict[str, str | None]:
    readings = [(folder, read_app(folder, 0.0)) for folder in folders]
    return {app.app_id: app.error for app in identify([(f, r) for f, r in readings if r is not None]).values()}


def test_names_are_made_to_fit(tmp_path: Path) -> None:
    names = ["Living Room", "x" * 80, "-_lamp", "a.b.c"]
    found = ids(*(write_app(tmp_path, name) for name in names))
    assert found == {"living-room": None, "x" * 63: None, "lamp": None, "a-b-c": None}


def test_of_two_newcomers_with_one_id_the_one_that_is_named_like_it_has_it(tmp_path: Path) -> None:
    first, second = write_app(tmp_path / "a", "lamp"), write_app(tmp_path / "b", "Lamp")
    taken = write_app(tmp_path / "b", "lamp-2")
    error = f'the id "lamp" is that of {first} already: rename one folder'
    assert ids(taken, second, first) == {"lamp": None, "lamp-2": None, "lamp-3": error}


@pytest.mark.parametrize("name", ["system", "HomeHelper", "service_manager"])
def test_homehelpers_own_names_are_refused(tmp_path: Path, name: str) -> None:
    app_id = name.lower()
    assert ids(write_app(tmp_path, name)) == {f"{app_id}-2": f'"{app_id}" is HomeHelper\'s own name: rename the folder'}


def test_a_name_of_which_nothing_fits_is_told(tmp_path: Path) -> None:
    assert list(ids(write_app(tmp_path, "日本"))) == ["app-2"]


def test_a_manifest_is_read_again_only_when_it_or_what_it_names_changed(tmp_path: Path) -> None:
    folder = write_app(tmp_path, "app")
    past = 1_700_000_000
    os.utime(folder / "homehelper.json", (past, past))
    reading = read_app(folder, 0.0)
    assert reading is not None
    assert reading.still_holds(folder)
    (folder / "app.py").unlink()
    assert not reading.still_holds(folder)
    (folder / "app.py").write_text("")
    assert reading.still_holds(folder)
    write_app(tmp_path, "app", version="2")
    assert not reading.still_holds(folder)
    # Just written, the time stamp cannot be trusted: it may be written again within the same tick.
    fresh = read_app(folder, 0.0)
    assert fresh is not None
    assert not fresh.still_holds(folder)
