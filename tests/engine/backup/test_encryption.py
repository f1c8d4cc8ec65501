"""Encrypted archives, by the real age and GnuPG: whoever has the key gets everything back, nobody else a byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hhtui.engine.backup.catalog import load_state
from hhtui.engine.backup.making import back_up
from hhtui.engine.backup.offline import restore
from hhtui.errors import HomeHelperError
from hhtui.model.config import BackupConfig
from hhtui.paths import Home
from tests.cli.conftest import Outcome, run_hhtui
from tests.engine.backup.archives import make_full_home, quiet, state_of
from tests.engine.engine_process import engine_process
from tests.engine.homes import make_app, make_home

needs_age = pytest.mark.skipif(not shutil.which("age"), reason="age is not installed")
needs_gpg = pytest.mark.skipif(not shutil.which("gpg"), reason="GnuPG is not installed")
needs_ssh = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="OpenSSH is not installed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_full_home(tmp_path / "home")


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty GnuPG home, its agent ended afterwards."""
    folder = tmp_path / "gnupg"
    folder.mkdir(mode=0o700)
    # Without it the agent first measures for seconds how slow it can make guessing a passphrase.
    (folder / "gpg-agent.conf").write_text("s2k-count 65536\n")
    monkeypatch.setenv("GNUPGHOME", str(folder))
    yield folder
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=False)


def age_key(path: Path) -> str:
    """A new identity in ``path``; its recipient."""
    subprocess.run(["age-keygen", "-o", str(path)], check=True, capture_output=True)
    return next(line.rpartition(" ")[2] for line in path.read_text().splitlines() if "public key" in line)


def encrypted(root: Path, folder: Path, *options: str, **environment: str) -> Path:
    made = run_hhtui(root, "backup", str(folder / "b.tar.gz"), "--data", "--json", *options, **environment)
    assert made.code == 0, made.err
    path = Path(made.json["path"])
    assert path.stat().st_mode & 0o777 == 0o600
    data = path.read_bytes()
    assert b"backup.json" not in data and data[:2] != b"\x1f\x8b"
    return path


def refused(root: Path, archive: Path, words: str, *options: str, **environment: str) -> Outcome:
    """One line with ``words``; the home is as it was."""
    before = state_of(root)
    told = run_hhtui(root, "restore", str(archive), "--yes", *options, **environment)
    assert told.code in (1, 2)
    lines = [line for line in told.err.splitlines() if line.startswith("hhtui: ")]
    assert len(lines) == 1 and words in lines[0], told.err
    assert "report unexpected" not in told.err
    assert state_of(root) == before
    return told


def refused_by_the_task(root: Path, archive: Path, words: str, **order: str) -> None:
    """As ``refused``, by what the command has done in a process of its own."""
    before = state_of(root)
    with pytest.raises(HomeHelperError) as told:
        restore({"root": str(root), "order": {"file": str(archive), **order}}, quiet)
    assert words in told.value.message and "\n" not in told.value.message
    assert state_of(root) == before


def comes_back(root: Path, archive: Path, *options: str, **environment: str) -> None:
    """Into an empty home; all that the backup held is the same."""
    fresh = archive.parent / "fresh"
    done = run_hhtui(fresh, "restore", str(archive), "--yes", *options, **environment)
    assert done.code == 0, done.err
    apart = {"registry/apps.json": None, "data/lamp/database/lamp.db": None}
    assert {**state_of(fresh), **apart} == {**state_of(root), **apart}
    assert [path for path in fresh.rglob("*") if path.suffix in (".part", ".age", ".gpg")] == []


@needs_age
def test_age_gives_everything_back_to_its_identity_alone(root: Path, tmp_path: Path) -> None:
    key, other = tmp_path / "key.txt", tmp_path / "other.txt"
    archive = encrypted(root, tmp_path, "--recipient", age_key(key))
    age_key(other)
    assert archive.name.endswith(".tar.gz.age")
    refused(root, archive, "name the key file with --identity")
    refused(root, archive, "no identity matched", "--identity", str(other))
    refused(root, archive, "no such file", "--identity", str(tmp_path / "nowhere"))
    refused(root, archive, "unknown identity type", "--identity", "/etc/passwd")
    comes_back(root, archive, "--identity", str(key))


@needs_age
def test_the_configured_recipient_encrypts_what_is_given_no_other_key(root: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    config = root / "config" / "config.json"
    document = json.loads(config.read_text())
    config.write_text(json.dumps({**document, "backup": {"recipient": age_key(key)}}))
    archive = encrypted(root, tmp_path)
    comes_back(root, archive, "--identity", str(key))
    answer = back_up({"root": str(root), "order": {}, "prove": True}, quiet)
    assert answer["path"].endswith(".tar.gz.age")
    assert answer["proof"]["ok"] is True
    assert load_state(Home.at(root, environ={})).proven == answer["proof"]


@pytest.mark.parametrize("recipient", ["", "-x", "age1\nssh-", "AGE-SECRET-KEY-1QQ"])
def test_a_recipient_that_is_no_public_key_is_refused(recipient: str) -> None:
    with pytest.raises(ValueError, match="recipient"):
        BackupConfig(recipient=recipient)


@needs_age
@needs_ssh
def test_age_takes_an_ssh_key(root: Path, tmp_path: Path) -> None:
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    archive = encrypted(root, tmp_path, "--recipient", key.with_suffix(".pub").read_text().strip())
    comes_back(root, archive, "--identity", str(key))


@needs_age
def test_a_damaged_age_file_is_told_as_that(root: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    data = encrypted(root, tmp_path, "--recipient", age_key(key)).read_bytes()
    damaged = tmp_path / "damaged.tar.gz.age"
    spoilt = [data[:length] for length in (0, 30, 150, 2000, len(data) // 2, len(data) - 1)]
    for position in (0, 100, 400, len(data) // 2, len(data) - 5):
        spoilt.append(data[:position] + bytes([data[position] ^ 0x20]) + data[position + 1 :])
    for content in spoilt:
        damaged.write_bytes(content)
        refused_by_the_task(root, damaged, "age: ", identity=str(key))
    for content in (b"", spoilt[-1]):
        damaged.write_bytes(content)
        refused(root, damaged, "age: ", "--identity", str(key))
    damaged.write_bytes(data[:2000])
    refused(root, damaged, "cut short", "--identity", str(key))


@needs_age
def test_a_recipient_that_is_none_leaves_no_archive(root: Path) -> None:
    told = run_hhtui(root, "backup", "--recipient", "age1nobody")
    assert told.code == 1
    assert "hhtui: age: malformed recipient" in told.err
    assert [path.name for path in (root / "backups").iterdir() if path.name.startswith("homehelper-")] == []
    assert [path.name for path in (root / "backups").iterdir() if ".part" in path.name] == []


@needs_gpg
def test_gnupg_gives_everything_back_to_its_passphrase_alone(root: Path, tmp_path: Path, keyring: Path) -> None:
    right, wrong = {"HHTUI_BACKUP_PASSPHRASE": "zwölf Boxkämpfer"}, {"HHTUI_BACKUP_PASSPHRASE": "falsch"}
    archive = encrypted(root, tmp_path, "--encrypt", **right)
    assert archive.name.endswith(".tar.gz.gpg")
    refused(root, archive, "the passphrase is wrong", **wrong)
    refused(root, archive, "HHTUI_BACKUP_PASSPHRASE")
    comes_back(root, archive, **right)
    damaged = tmp_path / "damaged.tar.gz.gpg"
    data = archive.read_bytes()
    changed = bytearray(data)
    changed[len(data) // 2] ^= 0x20
    words = "the file is damaged, cut short, or not encrypted"
    for spoilt in (data[:40], data[:3000], data[:-1], bytes(changed), b"no archive at all" * 100):
        damaged.write_bytes(spoilt)
        refused_by_the_task(root, damaged, words, passphrase=right["HHTUI_BACKUP_PASSPHRASE"])
    for spoilt in (b"", data[:3000], b"no archive at all" * 100):
        damaged.write_bytes(spoilt)
        refused(root, damaged, words, **right)


@needs_gpg
def test_what_gnupg_says_in_another_language_is_understood(
    root: Path, tmp_path: Path, keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong = {"HHTUI_BACKUP_PASSPHRASE": "richtig"}, {"HHTUI_BACKUP_PASSPHRASE": "falsch"}
    archive = encrypted(root, tmp_path, "--encrypt", **right)
    german = tmp_path / "bin" / "gpg"
    german.parent.mkdir()
    german.write_text(f'#!/bin/sh\n{shutil.which("gpg")} "$@" 2>/dev/null || {{ echo "gpg: Fehler" >&2; exit 2; }}\n')
    german.chmod(0o755)
    monkeypatch.setenv("PATH", str(german.parent), prepend=os.pathsep)
    refused(root, archive, "gpg: Fehler (the passphrase is wrong", **wrong)
    archive.write_bytes(archive.read_bytes()[:3000])
    refused(root, archive, "gpg: Fehler (the file is damaged", **right)


@needs_gpg
def test_gnupg_encrypts_to_a_key_of_its_ring(root: Path, tmp_path: Path, keyring: Path) -> None:
    made = [
        "gpg",
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--quick-generate-key",
        "lamp@example.org",
        "default",
        "default",
    ]
    subprocess.run(made, check=True, capture_output=True)
    archive = encrypted(root, tmp_path, "--recipient", "lamp@example.org")
    unknown = run_hhtui(root, "backup", "--recipient", "nobody@example.org")
    assert (unknown.code, "No public key" in unknown.err) == (1, True), unknown.err
    assert ".part" not in unknown.err
    comes_back(root, archive)


@needs_age
def test_an_engine_makes_and_restores_one_too(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    make_app(root, "lamp")
    key = tmp_path / "key.txt"
    recipient = age_key(key)
    with engine_process(root) as engine:
        engine.wait_status("lamp", "discovered")
        archive = encrypted(root, tmp_path, "--recipient", recipient)
        assert "every backup is encrypted" in encrypted_alone(root, recipient)
        make_app(root, "lamp", name="newer")
        refused_code = run_hhtui(root, "restore", str(archive), "--yes")
        assert refused_code.code == 1 and "--identity" in refused_code.err
        done = run_hhtui(root, "restore", str(archive), "--yes", "--identity", str(key), timeout=60)
        assert done.code == 0, done.err
        assert engine.client.app("lamp")["name"] == "lamp"


def encrypted_alone(root: Path, recipient: str) -> str:
    assert run_hhtui(root, "backup", "--recipient", recipient).code == 0
    told = run_hhtui(root, "backup", "--prove")
    assert told.code == 1
    return told.err
