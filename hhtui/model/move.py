"""Moving an app to another home: what is asked and answered, and what each home keeps of it until it is over."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from hhtui.model.app import Timestamp
from hhtui.model.base import Model
from hhtui.model.event import utc_now

# The form of what travels: an engine takes no other.
FORM = 1
MoveRole = Literal["from", "to"]
MovePhase = Literal["open", "coming", "ready", "handed", "arrived", "ended"]
MoveStep = Literal["install", "stop", "start", "hand", "confirm", "finish", "drop", "keep"]
MovePart = Literal["code", "data", "rest"]

_TOKEN = r"^[0-9a-f]{32}$"


class _Request(Model):
    model_config = ConfigDict(extra="forbid")


class MoveMark(Model):
    """What a home keeps of a move, in ``HOME/registry/moves/<token>.json``, until it is over.

    The home that the app comes from: ``open`` (the app is its own, the other one may have a copy), ``handed`` (it is
    the other one's). The home that it goes to: ``coming`` (a copy, dropped at the next start), ``ready`` (whole and
    well; nobody knows yet whether it was handed over), ``arrived`` (it is its own). ``ended`` is kept nowhere.

    ``other`` is the other home's place for people, ``host`` what its machine is called in a command. ``secrets`` are
    the names of those that came with it.
    """

    token: str = Field(pattern=_TOKEN)
    app_id: str
    role: MoveRole
    phase: MovePhase
    other: str = ""
    host: str = ""
    folder: str = ""
    ran: bool = False
    secrets: list[str] = Field(default_factory=list)
    since: Timestamp = Field(default_factory=utc_now)


class MovePlan(Model):
    """What moving an app would take along, measured now. ``refused`` says why it cannot be moved; None: it can.

    ``engine`` is the engine's own mark for as long as it runs. ``port`` is its owner's, ``has_port`` the one that it
    has; ``secrets`` are the names of those that it asks for and that are set here, ``secret_settings`` those of its
    settings. ``mark`` is a move of it that is not over.
    """

    app_id: str
    name: str
    version: str = ""
    engine: str
    status: str = ""
    refused: str | None = None
    code_bytes: int = 0
    data_bytes: int = 0
    environment_bytes: int = 0
    revisions: int = 0
    settings: bool = False
    port: int | None = None
    has_port: int | None = None
    secrets: list[str] = Field(default_factory=list)
    secret_settings: list[str] = Field(default_factory=list)
    manifest: dict[str, Any] = Field(default_factory=dict)
    mark: MoveMark | None = None


class LeaveRequest(_Request):
    """Begin to move an app away: ``other`` is the place that it goes to, for people, ``host`` its name in commands."""

    token: str = Field(pattern=_TOKEN)
    other: str = Field(max_length=500)
    host: str = Field("", max_length=300)


class ArriveRequest(_Request):
    """Begin to take an app in; with ``check`` only what speaks against it. ``engine`` is the mark of the engine that it
    comes from, ``other`` its place for people; ``bytes`` what its code and data take.
    """

    form: int
    token: str = Field(pattern=_TOKEN)
    check: bool = False
    app_id: str = Field(max_length=63)
    engine: str = Field(max_length=64)
    other: str = Field(max_length=500)
    bytes: int = Field(0, ge=0)
    environment_bytes: int = Field(0, ge=0)
    port: int | None = Field(None, ge=1, le=65535)
    secrets: list[str] = Field(default_factory=list, max_length=1000)
    manifest: dict[str, Any] = Field(default_factory=dict)


class PackRequest(_Request):
    """Which part is to be sent. With the ``code`` go its owner's settings, where it came from, and the values of
    ``secrets``; ``rest`` is what has changed since of both."""

    part: MovePart
    secrets: list[str] = Field(default_factory=list, max_length=1000)


class StepRequest(_Request):
    """The next step. From: ``stop`` it, ``hand`` it over, ``finish`` (into the trash), ``drop`` (it stays). To:
    ``install`` what it needs, ``start`` and watch it, ``confirm`` that it is this home's, ``drop`` it. ``keep``: of a
    move that is not over, the app is this home's, whatever the other one has. ``ran``: it is to be started there.
    """

    step: MoveStep
    ran: bool = False


class MoveState(Model):
    """How far a move is, as one of the homes knows it. ``doing`` is the step that is under way, ``failed`` why the
    last one was not done; ``live``: its client holds it. ``ran``: the app runs or ran, and is to run there.

    ``secrets_kept`` are the secrets that it asks for and that were there already; they stay as they are.
    """

    token: str
    app_id: str
    role: MoveRole
    phase: MovePhase
    live: bool = False
    doing: str = ""
    message: str = ""
    failed: str | None = None
    ran: bool = False
    bytes: int = 0
    secrets_kept: list[str] = Field(default_factory=list)
    result: dict[str, Any] = Field(default_factory=dict)
