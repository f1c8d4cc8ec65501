"""Updates of apps and earlier revisions of them, as the API and the command line speak of them."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from hhtui.model.base import Model
from hhtui.model.source import Origin


class UpdateRequest(Model):
    """Which version to update to: ``to`` is a tag, branch or commit, None what the app was added with. ``origin`` is
    where it comes from, now and from now on.

    ``discard_changes`` gives up what was changed in the author's files; ``yes``: nobody is asked about the preview.
    """

    model_config = ConfigDict(extra="forbid")

    to: str | None = Field(None, min_length=1, max_length=300)
    origin: Origin | None = None
    discard_changes: bool = False
    yes: bool = False


class RollbackRequest(Model):
    """Which kept revision to go back to: ``to`` begins like its revision or is its number, None the one before.

    ``with_data`` puts the copy of the data back that was made when that revision was replaced.
    """

    model_config = ConfigDict(extra="forbid")

    to: str | None = Field(None, min_length=1, max_length=300)
    with_data: bool = False
    discard_changes: bool = False
    yes: bool = False


class LookRequest(Model):
    """Which apps to look for newer versions of; None: all that came from somewhere."""

    model_config = ConfigDict(extra="forbid")

    apps: list[str] | None = Field(None, min_length=1, max_length=1000)


class Revision(Model):
    """An earlier revision that is kept. ``replaced_at`` is when another took its place, and of when ``data`` is.

    ``data_bytes`` is None where no copy of the data is kept.
    """

    number: int
    revision: str
    ref: str | None = None
    version: str = ""
    replaced_at: datetime
    data_bytes: int | None = None


class UpdateAvailable(Model):
    """What an app could be updated to: ``log`` are the subjects of the commits since, else lines of its CHANGELOG.

    ``error`` is why it could not be looked for; ``revision`` is None where nothing newer is there.
    """

    app_id: str
    revision: str | None = None
    log: list[str] = Field(default_factory=list)
    looked_at: datetime
    error: str | None = None
