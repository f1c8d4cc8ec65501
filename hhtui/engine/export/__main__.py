"""The process that exports and imports; see hhtui/engine/process/jobs.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hhtui.engine.export.bundle import bring_in, export
from hhtui.engine.export.compose import compose_files, write_project
from hhtui.engine.export.spec import specs_of, write_files
from hhtui.engine.export.systemd import systemd_files
from hhtui.engine.process.jobs import Progress, run_task

FORMATS = ("systemd", "compose")


def translate(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """``{files, apps, notes}``: the texts by file name, written into ``folder`` if one is named."""
    compose = request["format"] == "compose"
    specs, notes = specs_of(request["root"], request.get("apps") or [], container=compose)
    files = compose_files(specs, notes) if compose else systemd_files(specs, notes)
    if (folder := request.get("folder")) is not None:
        write_project(Path(folder), files, specs) if compose else write_files(Path(folder), files)
    return {"files": files, "apps": [spec.app_id for spec in specs], "notes": notes}


if __name__ == "__main__":
    sys.exit(run_task({"export": export, "import": bring_in, "translate": translate}))
