"""Log files and pages of them (docs/logs.md, docs/api.md)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import Field, field_serializer, model_validator

from hhtui.model.base import Model
from hhtui.text import iso_utc

# Of a page, the lines around its matches included: a few megabytes of an engine on a small Pi.
MOST_LINES = 25_000


class LogFile(Model):
    """One log with its rotated archives; ``size_bytes`` is the sum over the set."""

    name: str
    size_bytes: int
    files: int
    modified_at: datetime | None = None

    @field_serializer("modified_at")
    def _modified_at(self, value: datetime | None) -> str | None:
        return iso_utc(value, milliseconds=True) if value else None


class LogQuery(Model):
    """What of a log is asked for. Page 1 is the newest; ``since``/``until`` are UTC; ``regex`` makes ``search`` one.

    ``after`` (a ``LogPage.end``) asks for what was written since, for following: the oldest ``page_size`` such lines,
    complete ones only; with ``partial`` also a last one without a newline, as an app that is gone may leave it.
    ``offset`` and ``at`` ask for the page that holds that byte, or the first line written from that time on; they go
    without ``search``. With ``context`` each match comes with up to so many lines before and after it.
    Times are compared to the millisecond, both ends included; a line whose time is not known is in no such span.
    """

    page: int = Field(1, ge=1)
    page_size: int = Field(200, ge=1, le=5000)
    search: str | None = Field(None, max_length=1000)
    regex: bool = False
    since: datetime | None = None
    until: datetime | None = None
    after: int | None = Field(None, ge=0)
    partial: bool = False
    offset: int | None = Field(None, ge=0)
    at: datetime | None = None
    context: int = Field(0, ge=0, le=50)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.search and self.page_size * (2 * self.context + 1) > MOST_LINES:
            most = MOST_LINES // (2 * self.context + 1)
            raise ValueError(f"page_size: at most {most} with a context of {self.context}")
        return self


class LogLine(Model):
    """One line without its newline; ``offset`` counts bytes since the log began, ``size`` its own bytes.

    ``cut``: the text is not all of it; ``partial``: no newline has come yet. Bytes that are no UTF-8 read ``\\xNN``.
    ``name``: where logs are merged, the one that it is from. ``match`` is false for the lines around a match. ``run``:
    the app was started between the line before and this one; why.
    """

    offset: int
    time: datetime | None = None
    text: str
    size: int
    cut: bool = False
    partial: bool = False
    name: str | None = None
    match: bool = True
    run: str | None = None

    @field_serializer("time")
    def _time(self, value: datetime | None) -> str | None:
        return iso_utc(value, milliseconds=True) if value else None


class LogPage(Model):
    """Lines in file order, counted over the whole rotated set. ``start`` is the offset of the first byte still kept.

    ``end`` is where following goes on (``LogQuery.after``): behind the last complete line, or behind the last one given
    where more than a page was written since. ``total_lines`` and ``pages`` count what the query selects, lines around
    matches apart. Several logs may be asked for as one, their names joined by ``+`` (``app+error+access``): their lines
    are merged by time, and offsets count the bytes of all of them in that order.
    """

    app_id: str
    name: Literal["app", "error", "access", "setup"] | str
    page: int
    pages: int
    page_size: int
    total_lines: int
    lines: list[LogLine]
    start: int = 0
    end: int = 0
