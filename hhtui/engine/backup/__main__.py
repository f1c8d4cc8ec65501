"""The process that makes, checks, proves and restores archives; see hhtui/engine/process/jobs.py."""

from __future__ import annotations

import sys

from hhtui.engine.backup.catalog import status_of_home
from hhtui.engine.backup.making import back_up, prove
from hhtui.engine.backup.offline import check, restore, stage_for_engine
from hhtui.engine.process.jobs import run_task

if __name__ == "__main__":
    sys.exit(
        run_task(
            {
                "backup": back_up,
                "prove": prove,
                "check": check,
                "stage": stage_for_engine,
                "restore": restore,
                "status": status_of_home,
            }
        )
    )
