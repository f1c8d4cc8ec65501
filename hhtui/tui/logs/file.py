"""A new file of lines, written beside the interface's loop; whole or not there."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hhtui.errors import ConflictError, HomeHelperError


class LinesFile:
    """Never replaces what is there: ConflictError. HomeHelperError if it cannot be written; then it is removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    async def __aenter__(self) -> Self:
        try:
            # Logs may hold what is nobody else's business.
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise ConflictError(f"{self._path}: is there already; choose another name") from None
        except (OSError, ValueError) as error:
            raise self._refused(error) from None
        return self

    async def write(self, lines: Sequence[str]) -> None:
        """Add lines."""
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._write, data)
        except OSError as error:
            raise self._refused(error) from None

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        if error is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _refused(self, error: Exception) -> HomeHelperError:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return HomeHelperError(f"{self._path}: cannot be written: {reason}")
