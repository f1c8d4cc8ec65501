"""The process that fetches, unpacks and copies; see hhtui/engine/process/jobs.py."""

from __future__ import annotations

import sys

from hhtui.engine.process.jobs import run_task
from hhtui.engine.sources.cloned import bring_git_now, look_at_clone
from hhtui.engine.sources.copying import copy
from hhtui.engine.sources.fetching import fetch_now, key_now, look_now

if __name__ == "__main__":
    sys.exit(
        run_task(
            {
                "fetch": fetch_now,
                "look": look_now,
                "key": key_now,
                "copy": copy,
                "look_at_clone": look_at_clone,
                "bring_git": bring_git_now,
            }
        )
    )
