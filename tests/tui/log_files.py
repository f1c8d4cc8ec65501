"""A transport whose logs are files, read as the engine reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from hhtui.engine.logs.index import RECORD
from hhtui.engine.logs.reader import list_logs, read_page
from hhtui.model.log import LogQuery
from tests.engine.logs.written import Drain, write_set
from tests.tui.fake import Document, FakeTransport


class FileLogs(FakeTransport):
    """``folder`` holds one folder an app; ``delay`` is how long a search takes on top (seconds)."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.delay = 0.0

    def write(self, app_id: str, name: str, lines: list[tuple[str | bytes, datetime]]) -> Path:
        """A log of these lines, each arrived at its time."""
        (self.folder / app_id).mkdir(exist_ok=True)
        drains: list[Drain] = [
            ((text if isinstance(text, bytes) else text.encode()) + b"\n", int(moment.timestamp() * 1e6))
            for text, moment in lines
        ]
        write_set(self.folder / app_id, [drains], name=f"{name}.log")
        return self.folder / app_id / f"{name}.log"

    def append(self, app_id: str, name: str, text: str, moment: datetime) -> None:
        """Another line, arrived at its time."""
        path = self.folder / app_id / f"{name}.log"
        before = path.stat().st_size
        with path.open("a") as file:
            file.write(f"{text}\n")
        with path.with_name(f"{path.name}.times").open("ab") as index:
            index.write(RECORD.pack(before, int(moment.timestamp() * 1e6)))

    async def logs(self, app_id: str) -> list[Document]:
        self._asked(f"logs {app_id}")
        return [file.model_dump(mode="json") for file in list_logs(self.folder / app_id)]

    async def log_page(
        self, app_id: str, name: str, *, progress: Callable[[int, int], None] | None = None, **query: Any
    ) -> Document:
        self._asked(f"log_page {app_id} {name}")
        if query.get("search") and self.delay:
            for done in (10, 30):
                if progress is not None:
                    progress(done, 100)
            await asyncio.sleep(self.delay)
        wanted = LogQuery.model_validate(query)
        page = await asyncio.to_thread(read_page, self.folder / app_id, app_id, name, wanted)
        return page.model_dump(mode="json")
