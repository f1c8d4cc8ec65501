"""hhtui add, search and catalog as a user types them: shown, asked, added, refused, in words and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import HHTUI, run_hhtui
from tests.engine.engine_process import EngineProcess, eventually
from tests.engine.sources.repositories import Repository, app_files, manifest, zip_of
from tests.tui.terminal import Terminal


def test_apps_are_added_from_wherever_they_are(own: EngineProcess, tmp_path: Path) -> None:
    root = own.start().root
    folder = tmp_path / "lamp"
    folder.mkdir()
    for name, text in app_files(environment={"KEY": "${LAMP_KEY}"}).items():
        (folder / name).write_text(text)
    unasked = run_hhtui(root, "add", str(folder))
    assert unasked.code == 2 and "say --yes" in unasked.err
    added = run_hhtui(root, "add", str(folder), "--yes")
    assert added.code == 0 and "starts     /bin/sh run.sh" in added.err
    assert "lamp is added" in added.err and "hhtui secret set LAMP_KEY" in added.err
    again = run_hhtui(root, "add", str(folder), "--yes")
    assert again.code == 1 and "is there already" in again.err
    archive = zip_of(tmp_path / "radio-1.2.zip", app_files(name="Radio"))
    (radio,) = run_hhtui(root, "add", str(archive), "--yes", "--json").json
    assert (radio["app_id"], radio["source"]["kind"]) == ("radio", "archive")
    many = Repository(tmp_path / "many")
    requires = {"name": "Door", "requires": [{"app": "bell"}]}
    many.commit({"door/homehelper.json": manifest(**requires), "bell/homehelper.json": manifest(name="Bell")})
    assert run_hhtui(root, "catalog", "add", many.url, "--as", "mine").code == 0
    listed = run_hhtui(root, "catalog", "list", "--json").json
    assert [(entry["name"], entry["apps"]) for entry in listed] == [("examples", 5), ("mine", 2)]
    assert [app["app_id"] for app in run_hhtui(root, "search", "bell", "--json").json] == ["bell"]
    both = run_hhtui(root, "add", "mine/door", "--yes", "--json").json
    assert [app["app_id"] for app in both] == ["bell", "door"]
    direct = run_hhtui(root, "add", f"{many.url}#bell", "--as", "gong", "--yes")
    assert direct.code == 0 and (root / "apps" / "gong" / "homehelper.json").is_file()
    assert run_hhtui(root, "catalog", "remove", "mine").code == 0
    for words in (("add", "./nothing", "--yes"), ("add", "nothing", "--yes"), ("catalog", "remove", "examples")):
        refused = run_hhtui(root, *words)
        assert refused.code == 1 and len(refused.err.strip().splitlines()) == 1, refused.err
    key = run_hhtui(root, "add", "--show-key").out
    assert key.startswith("ssh-ed25519 ") and (root / "config" / "ssh" / "id_ed25519").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("keys", "code"), [("n\r", 1), ("\x03", 130), ("y\r", 0)])
def test_a_terminal_is_asked_and_who_does_not_agree_leaves_nothing(own: EngineProcess, keys: str, code: int) -> None:
    root = own.start().root
    with Terminal("", command=[*HHTUI, "--home", str(root), "add", "hello-http"], size=(100, 30)) as terminal:
        terminal.wait_for("Add it? [y/N]")
        assert not (root / "apps" / "hello-http").exists()
        terminal.settle()  # a signal between the question and the call that waits for the answer would wait, too
        terminal.type(keys)
        assert terminal.end() in (code, 130 if code else 0)
    assert (root / "apps" / "hello-http").exists() is (code == 0)
    eventually(lambda: not any((root / "incoming").iterdir()))


def test_an_app_that_was_sent_is_updated_from_what_is_sent_anew(own: EngineProcess, tmp_path: Path) -> None:
    root = own.start().root
    folder = tmp_path / "fetched"  # a name that the engine itself uses while it fetches
    folder.mkdir()
    for name, text in app_files(version="1.0").items():
        (folder / name).write_text(text)
    assert run_hhtui(root, "add", str(folder), "--yes").code == 0
    (root / "apps" / "fetched" / "mine").write_text("kept")
    for words in (("update", "fetched", "--yes"), ("update", "fetched", "--check")):
        refused = run_hhtui(root, *words)
        assert refused.code == 1 and f"`hhtui update fetched --from {folder}` sends what is there now" in refused.err
    assert run_hhtui(root, "update", "--check").code == 0
    same = run_hhtui(root, "update", "fetched", "--from", str(folder), "--yes")
    assert same.code == 0 and "is up to date" in same.err
    (folder / "homehelper.json").write_text(manifest(version="2.0"))
    again = run_hhtui(root, "add", str(folder), "--yes")
    assert again.code == 1 and "`hhtui update fetched --from SOURCE` puts this in its place" in again.err
    done = run_hhtui(root, "update", "fetched", "--from", str(folder), "--yes")
    assert done.code == 0 and "manifest   version" in done.err and "is now 2.0" in done.err, done.err
    assert (root / "apps" / "fetched" / "mine").read_text() == "kept"
    # From elsewhere, now and from now on.
    repository = Repository(tmp_path / "repository")
    repository.commit(app_files(version="3.0"))
    (done,) = run_hhtui(root, "update", "fetched", "--from", repository.url, "--yes", "--json").json
    assert done["version"] == "3.0"
    repository.commit(app_files(version="4.0"))
    assert run_hhtui(root, "update", "fetched", "--yes", "--json").json[0]["version"] == "4.0"
    archive = zip_of(tmp_path / "x.zip", app_files(version="5.0"))
    assert run_hhtui(root, "update", "fetched", "--from", str(archive), "--yes", "--json").json[0]["version"] == "5.0"
    assert run_hhtui(root, "rollback", "fetched", "--yes", "--json").json["version"] == "4.0"
    for words in (("--from", str(tmp_path / "nothing")), ("--from", str(archive), "--to", "v1"), ("--from", "nothing")):
        refused = run_hhtui(root, "update", "fetched", *words, "--yes")
        assert refused.code in (1, 2) and len(refused.err.strip().splitlines()) == 1, refused.err
    assert not any((root / "incoming").iterdir())
