"""The process that cleans; see hhtui/engine/tasks.py."""

from __future__ import annotations

import sys

from hhtui.engine.cleaning.leftovers import clean, look
from hhtui.engine.tasks import run_task

if __name__ == "__main__":
    sys.exit(run_task({"look": look, "clean": clean}))
