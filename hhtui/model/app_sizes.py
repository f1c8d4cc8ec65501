"""How much room an app takes on its disks."""

from __future__ import annotations

from pydantic import BaseModel

from hhtui.model.app import Timestamp


class FolderSize(BaseModel):
    """What is allocated below a folder, in bytes: links are not followed, hard links count once.

    ``whole`` is false where counting was given up, so that there is more than this. A folder that is not there is
    empty: ``entries`` is 0.
    """

    size_bytes: int = 0
    entries: int = 0
    whole: bool = True


class AppSizes(BaseModel):
    """The app's own folder, its virtual environment, its data and its logs; None where it was never measured yet.

    ``measuring``: this is counted now; what was counted before stands until then.
    """

    files: FolderSize | None = None
    environment: FolderSize | None = None
    data: FolderSize | None = None
    logs: FolderSize | None = None
    measured_at: Timestamp | None = None
    measuring: bool = False
