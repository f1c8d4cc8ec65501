"""State files that are written whole or not at all, and survive what a power cut leaves behind."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from hhtui.text import human_bytes

# Deeper than any state file or manifest; well within what every JSON writer of ours can take.
MAX_DEPTH = 64
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def write_atomically(path: Path, data: bytes, mode: int = 0o640) -> None:
    """Replace ``path`` by ``data``: temporary file, fsync, rename, fsync of the folder. OSError leaves the old file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def append_whole(descriptor: int, data: bytes) -> None:
    """Append ``data`` to a log that only this process writes, or nothing of it: a disk that fills up takes what fits.

    OSError if it does not go in.
    """
    size = os.fstat(descriptor).st_size
    if os.write(descriptor, data) < len(data):
        os.ftruncate(descriptor, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def append_line(path: Path, line: bytes) -> int:
    """``append_whole`` to the log at ``path``, which is made if it is missing; the file's size afterwards.

    OSError if it does not go in, also where the name is a link's or a pipe's.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o640)
    try:
        append_whole(descriptor, line)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def only_one_in(folder: Path) -> Iterator[None]:
    """While this holds nobody else changes the files of ``folder`` who asks so: of what each reads before it writes,
    none is lost. Blocks until it is free."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_json(path: Path, document: Any, mode: int = 0o640) -> None:
    """``document`` as indented UTF-8 JSON, atomically."""
    write_atomically(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(), mode)


def read_json_object(path: Path, limit: int = 64 * 1024 * 1024) -> dict[str, Any]:
    """The JSON object in ``path``; OSError: not readable; ValueError: no object, with one clear reason.

    What could not be written again as JSON (NaN, half a surrogate pair, absurd nesting) is no object either.
    """
    data = _read_regular_file(path, limit)
    try:
        text = data.decode("utf-8-sig")  # editors on Windows put a byte order mark in front
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from None
    return parse_json_object(text)


def parse_json_object(text: str) -> dict[str, Any]:
    """The JSON object in ``text``; ValueError as above."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {_syntax_problem(text, error)}") from None
    except RecursionError:
        raise ValueError("not valid JSON: nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError(f"must be a JSON object, not {_json_kind(document)}")
    if nested_deeper(document, MAX_DEPTH):
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if _SURROGATE.search(text):
        _refuse_lone_surrogates(document)
    return document


def _syntax_problem(text: str, error: json.JSONDecodeError) -> str:
    """What to do about the slips that hands make, else the parser's own words; with line and column, from 1."""
    at = error.pos
    before = text[:at].rstrip()
    here = text[at:].lstrip()
    if before.endswith(",") and here[:1] in ("}", "]"):
        return f"remove the comma at {_place(text, len(before) - 1)}"
    if text[at : at + 1] == "," and text[at + 1 :].lstrip()[:1] in ("}", "]"):  # as Python 3.13 counts
        return f"remove the comma at {_place(text, at)}"
    for mark in ("//", "/*", "#"):
        if here.startswith(mark):
            return f"JSON has no comments: remove the one at {_place(text, len(text) - len(text[at:].lstrip()))}"
    if here[:1] in ("'", "\u2018", "\u2019", "\u201c", "\u201d"):
        return f'write " instead of {here[0]} at {_place(text, len(text) - len(text[at:].lstrip()))}'
    if not before and not here:
        return "the file is empty"
    if not here:
        return f"it ends too early, at {_place(text, len(before))}: is a closing bracket missing?"
    for word, right in (("True", "true"), ("False", "false"), ("None", "null")):
        if here.startswith(word):
            return f"write {right} instead of {word} at {_place(text, at)}"
    if error.msg.startswith("Extra data"):
        return f"something follows its end at {_place(text, at)}: remove it"
    if error.msg.startswith("Expecting ',' delimiter"):
        return f"a comma is missing at {_place(text, len(before))}"
    if error.msg.startswith("Expecting ':' delimiter"):
        return f"a colon is missing at {_place(text, len(before))}"
    if error.msg.startswith("Expecting property name") and (here[0].isalnum() or here[0] in "_$"):
        return f"write the name at {_place(text, at)} in double quotes"
    return f"{error.msg} ({_place(text, at)})"


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"


def _read_regular_file(path: Path, limit: int) -> bytes:
    # Looked at before it is opened: opening a pipe or a device can block or have effects of its own.
    _refuse_irregular(os.stat(path).st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        _refuse_irregular(os.fstat(descriptor).st_mode)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"larger than {human_bytes(limit)}")
    return data


def _refuse_irregular(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    kind = next((words for test, words in kinds if test(mode)), "something else")
    raise ValueError(f"is {kind}, not a file")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"not valid JSON: {name} is no JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse_constant(digits)


def _refuse_lone_surrogates(document: dict[str, Any]) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair (\\ud800 to \\udfff), which is no character") from None


def nested_deeper(document: Any, limit: int) -> bool:
    """Whether lists and objects lie more than ``limit`` levels inside each other."""
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(limit):
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def set_aside(path: Path) -> Path | None:
    """Rename a broken file to ``<stem>.broken-<time>[-n]<suffix>`` beside it; None if that is not possible.

    Of a link the file that it leads to is copied: the link stays, to be written through.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in range(100):
        tail = f"-{number}" if number else ""
        aside = path.with_name(f"{path.stem}.broken-{stamp}{tail}{path.suffix}")
        if aside.exists():
            continue
        try:
            if path.is_symlink():
                write_atomically(aside, path.read_bytes())
            else:
                os.rename(path, aside)
        except OSError:
            return None
        return aside
    return None


def _json_kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return kinds.get(type(value), "something else")
