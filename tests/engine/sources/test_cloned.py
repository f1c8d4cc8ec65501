"""What git is asked about a clone that its app may have written: nothing that stands in there is run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hhtui.engine.sources.cloned import bring_git_now, look_at_clone
from hhtui.errors import ConflictError

# Each key names a program that git runs by itself.
_PROGRAMS = (
    "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "core.fsmonitor", "core.sshCommand",
    "core.alternateRefsCommand", "core.askPass", "core.pager", "core.gitProxy", "diff.external", "credential.helper",
    "uploadpack.packObjectsHook", "gpg.program",
)  # fmt: skip


def _git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def hashes() -> str:
    return "sha1"


@pytest.fixture
def clone(tmp_path: Path, hashes: str) -> Path:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    begin = ["git", "init", "--quiet", "--initial-branch", "main", f"--object-format={hashes}", str(origin)]
    subprocess.run(begin, check=True)
    for name in ("app.py", "notes.txt"):
        (origin / name).write_text("one\n")
    _git(origin, "add", ".")
    _git(origin, "commit", "--quiet", "--message", "one")
    subprocess.run(["git", "clone", "--quiet", str(origin), str(clone)], check=True)
    (origin / "app.py").write_text("two\n")
    _git(origin, "commit", "--all", "--quiet", "--message", "two")
    return clone


@pytest.mark.parametrize("hashes", ["sha1", "sha256"])
def test_no_program_that_a_clone_names_is_run(clone: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $0 >> {ran}\ncat\n")
    program.chmod(0o755)
    origin = clone.parent / "origin"
    for name in _PROGRAMS:
        _git(clone, "config", name, str(program))
    (clone / ".gitattributes").write_text("* filter=evil diff=evil\n")
    (clone / ".git" / "info" / "attributes").write_text("* filter=evil\n")
    for hook in ("post-index-change", "reference-transaction", "pre-auto-gc"):
        (clone / ".git" / "hooks" / hook).write_bytes(program.read_bytes())
        (clone / ".git" / "hooks" / hook).chmod(0o755)
    (clone / "notes.txt").write_text("changed by its owner\n")
    (clone / "app.py").touch()

    found = look_at_clone({"root": str(tmp_path), "folder": str(clone)}, lambda *_: None)["source"]
    assert (found["url"], found["ref"]) == (f"file://{origin}", "main")
    assert found["files"]["notes.txt"] == "" and found["files"]["app.py"]

    target = tmp_path / "target"
    target.mkdir()
    revision = _git(origin, "rev-parse", "HEAD")
    request = {"root": str(tmp_path), "origin": str(clone), "target": str(target), "url": found["url"], "ref": "main"}
    bring_git_now({**request, "revision": revision, "discard": False}, lambda *_: None)
    assert not ran.exists()
    assert (target / ".git" / "refs" / "heads" / "main").read_text().strip() == revision


@pytest.mark.parametrize("name", ["refs/heads", "objects", "index", "config"])
def test_a_link_in_a_clones_git_is_refused(clone: Path, tmp_path: Path, name: str) -> None:
    place = clone / ".git" / name
    elsewhere = tmp_path / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    with pytest.raises(ConflictError, match="is a link"):
        look_at_clone({"root": str(tmp_path), "folder": str(clone)}, lambda *_: None)
    with pytest.raises(ConflictError, match="is a link"):
        (tmp_path / "target").mkdir()
        request = {"root": str(tmp_path), "origin": str(clone), "target": str(tmp_path / "target")}
        bring_git_now(request, lambda *_: None)
