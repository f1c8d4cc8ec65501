"""State files that are written whole or not at all, and survive what a power cut leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


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


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, document: Any, mode: int = 0o640) -> None:
    """``document`` as indented UTF-8 JSON, atomically."""
    write_atomically(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(), mode)


def read_json_object(path: Path, limit: int = 64 * 1024 * 1024) -> dict[str, Any]:
    """The JSON object in ``path``; OSError: not readable; ValueError: no object, with one clear reason."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"larger than {limit} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from None
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise ValueError("not valid JSON: nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError(f"must be a JSON object, not {_json_kind(document)}")
    return document


def set_aside(path: Path) -> Path | None:
    """Rename a broken file to ``<stem>.broken-<time>[-n]<suffix>`` beside it; None if that is not possible."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in range(100):
        tail = f"-{number}" if number else ""
        kept = path.with_name(f"{path.stem}.broken-{stamp}{tail}{path.suffix}")
        if kept.exists():
            continue
        try:
            os.rename(path, kept)
        except OSError:
            return None
        return kept
    return None


def _json_kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return kinds.get(type(value), "something else")
