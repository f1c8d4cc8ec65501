"""The process that exports and imports; see hhtui/engine/tasks.py."""

from __future__ import annotations

import sys
from typing import Any

from hhtui.engine.export.bundle import bring_in, export
from hhtui.engine.export.containers import compose_files, kubernetes_files
from hhtui.engine.export.nomad import nomad_files
from hhtui.engine.export.spec import specs_of
from hhtui.engine.export.systemd import systemd_files
from hhtui.engine.tasks import Progress, run_task

_FORMATS = {
    "systemd": systemd_files,
    "compose": compose_files,
    "kubernetes": kubernetes_files,
    "nomad": nomad_files,
}


def translate(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """``{files, apps, notes}``: the texts by file name."""
    wanted = request["format"]
    specs, notes = specs_of(request["root"], request.get("apps") or [], container=wanted != "systemd")
    files = _FORMATS[wanted](specs, notes)
    return {"files": files, "apps": [spec.app_id for spec in specs], "notes": notes}


if __name__ == "__main__":
    sys.exit(run_task({"export": export, "import": bring_in, "translate": translate}))
