"""The earlier revisions of an app that are kept, and whose each file in its folder is: the author's or the owner's."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from hhtui.engine.exchange import mount_of
from hhtui.engine.sources.jobs import remove_tree
from hhtui.errors import InvalidInputError, NotFoundError
from hhtui.model.update import Revision
from hhtui.paths import MADE_ANEW, Home
from hhtui.storage import read_json_object, write_json
from hhtui.text import sanitise

KEPT = 3
_NOTES = "revision.json"
_CHUNK = 1024 * 1024


class Differences(NamedTuple):
    """Paths in an app's folder: the author's files that were ``changed`` or removed, and those of the owner."""

    changed: list[str]
    foreign: list[str]


def differences(folder: Path, files: Mapping[str, str]) -> Differences:
    """How ``folder`` differs from the author's ``files`` (path: SHA-256). Blocks; OSError if it cannot be read."""
    changed = [name for name, digest in files.items() if digest_of_file(folder / name) != digest]
    return Differences(sorted(changed), sorted(name for name in all_files(folder) if name not in files))


def all_files(folder: Path) -> list[str]:
    """Every file below ``folder``, links too, without what programs make anew by themselves and what git keeps."""
    found = []
    for parent, folders, names in os.walk(folder):
        inside = os.path.relpath(parent, folder)
        links = [name for name in folders if os.path.islink(f"{parent}/{name}")]
        left_out = MADE_ANEW | {".git"} if inside == "." else MADE_ANEW
        folders[:] = [name for name in folders if name not in links and name not in left_out]
        found += [name if inside == "." else f"{inside}/{name}" for name in (*names, *links) if name != ".git"]
    return found


def digest_of_file(path: Path) -> str | None:
    """The SHA-256 of a file's content, of a link's target; None if there is neither."""
    try:
        if path.is_symlink():
            return hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest()
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        try:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        except OSError:
            return None
    return digest.hexdigest()


def same_disk(home: Home, target: Path, default: Path) -> Path:
    """``default``, or a hidden folder beside ``target`` where a rename cannot go from one to the other."""
    if mount_of(home.root) == mount_of(target.parent):
        return default
    return target.parent / f".{default.relative_to(home.root)}"


class Revisions:
    """Of one app: ``HOME/revisions/<app_id>/<number>/`` holds ``code``, ``source.json`` and, where an update made it, a
    copy of the ``data``. What lies on another disk is kept on that one, in a hidden folder beside.
    """

    def __init__(self, home: Home, app_id: str, folder: Path) -> None:
        self._home = home
        self._app_id = app_id
        self._folder = folder

    def code(self, number: int) -> Path:
        """Where the code of a revision is."""
        return same_disk(self._home, self._folder, self._place(number)) / "code"

    def data(self, number: int) -> Path:
        """Where the copy of the data is that was made when the revision was replaced."""
        return same_disk(self._home, self._home.app_data(self._app_id), self._place(number)) / "data"

    def source(self, number: int) -> Path:
        """What was known of where that code came from."""
        return self._place(number) / "source.json"

    def notes(self, number: int) -> Path:
        """What is known of the revision itself; without it there is none."""
        return self._place(number) / _NOTES

    def kept(self) -> list[Revision]:
        """Those that are kept, the newest first."""
        found = []
        for number in self._numbers():
            try:
                found.append(Revision.model_validate(read_json_object(self.notes(number))))
            except (OSError, ValueError, ValidationError):
                continue
        return found

    def find(self, wanted: str) -> Revision:
        """The one of that number, ref or version, or whose revision begins so; NotFoundError names those there are."""
        kept = self.kept()
        for same in (
            lambda one: wanted == str(one.number),
            lambda one: wanted in (one.ref, one.version, one.revision),
            lambda one: len(wanted) >= 4 and one.revision.startswith(wanted),
        ):
            if found := [one for one in kept if same(one)]:
                return found[0]
        names = ", ".join(f"{one.number} ({one.version or one.revision[:10]})" for one in kept) or "none"
        raise NotFoundError(f"{self._app_id}: no revision {sanitise(wanted, 60)!r} is kept; there are: {names}")

    def next_number(self) -> int:
        """A number that none has had."""
        return max(self._numbers(), default=0) + 1

    def keep(self, revision: Revision) -> None:
        """It is one of those that are kept from now on, durably; those beyond the last three go. Blocks."""
        write_json(self.notes(revision.number), revision.model_dump(mode="json"), 0o600)
        kept = [one.number for one in self.kept()][:KEPT]
        for number in self._numbers():
            if number not in kept:
                self.remove(number)

    def remove_unfinished(self) -> None:
        """Remove what has never become a revision. Blocks."""
        for number in self._numbers():
            if not self.notes(number).exists():
                self.remove(number)

    def remove(self, number: int) -> None:
        """Remove one with all that it holds; first what makes it one. Blocks."""
        self.notes(number).unlink(missing_ok=True)
        for folder in {self._place(number), self.code(number).parent, self.data(number).parent}:
            with contextlib.suppress(OSError):
                remove_tree(folder)
                folder.parent.rmdir()  # if it was the last

    def _place(self, number: int) -> Path:
        return self._home.revisions_dir / self._app_id / str(number)

    def _numbers(self) -> list[int]:
        try:
            names = os.listdir(self._home.revisions_dir / self._app_id)
        except FileNotFoundError:
            return []
        return sorted((int(name) for name in names if name.isdecimal() and name.isascii()), reverse=True)


def chosen(revisions: Revisions, to: str | None, current: str, *, with_data: bool) -> Revision:
    """The revision to go back to: the last one that is not what runs now, unless ``to`` names another."""
    if to is not None:
        found = revisions.find(to)
    else:
        fits = (
            one for one in revisions.kept() if (one.data_bytes is not None if with_data else one.revision != current)
        )
        last = next(fits, None)
        if last is None:
            raise NotFoundError(f"no earlier revision {'with a copy of the data ' if with_data else ''}is kept")
        found = last
    if with_data and found.data_bytes is None:
        raise InvalidInputError(f"revision {found.number} has no copy of the data: leave --with-data out")
    return found
