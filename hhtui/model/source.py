"""Where an app comes from, and the jobs that bring, change, move and take away apps."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import ConfigDict, Field, ValidationError, field_validator

from hhtui.errors import InvalidInputError
from hhtui.model.base import Model
from hhtui.model.problems import first_problem
from hhtui.paths import Home
from hhtui.storage import read_json_object, write_json
from hhtui.text import sanitise

SourceKind = Literal["git", "archive", "folder", "catalog"]
JobKind = Literal["add", "update", "rollback", "remove", "move", "catalog"]
JobState = Literal["running", "done", "failed", "cancelled"]

# The address of the example apps that come with the engine.
BUILT_IN = "builtin:examples"
_MAX_BYTES = 16 * 1024 * 1024
# Fields of a query that are keys to something: https://user:password@ has cousins.
_KEYS = re.compile(r"token|key|secret|passw|sig|auth|credential|jwt", re.IGNORECASE)


def refuse_credentials(url: str) -> str:
    """``url`` as it is; InvalidInputError if it holds a password or a token, which would be kept, logged and answered.

    The user's name of ``ssh://git@host/`` is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidInputError(f"{sanitise(url, 200)}: is no URL: {error}") from None
    secret = parts.password is not None or (parts.username is not None and parts.scheme in ("http", "https"))
    shown = sanitise(url.replace(f"{parts.netloc.rpartition('@')[0]}@", "***@", 1).partition("?")[0], 200)
    if secret:
        raise InvalidInputError(
            f"{shown}: leave the credentials out, they would be kept in files and logs; for a private repository use "
            "ssh and `hhtui add --show-key`"
        )
    if any(_KEYS.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise InvalidInputError(f"{shown}: its query holds a key, which would be kept in files and logs; leave it out")
    return url


class AppSource(Model):
    """Where an app's code comes from; kept in ``HOME/registry/sources/<app_id>.json``, mode 600.

    ``folder`` is the app's inside a repository of many, ``ref`` the tag or branch that was asked for. ``revision`` is a
    commit's hash, or the SHA-256 of an archive's or folder's files. ``files`` are the author's files, by their path
    below the app's folder, with their SHA-256, of a link that of its target; all others are the owner's.
    """

    kind: SourceKind
    url: str
    folder: str = ""
    ref: str | None = None
    revision: str
    added_at: datetime
    files: dict[str, str] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _without_credentials(cls, value: str) -> str:
        try:
            return refuse_credentials(value)
        except InvalidInputError as error:
            raise ValueError(error.message) from None

    @property
    def was_sent(self) -> bool:
        """Whether a client sent it: the engine cannot fetch what is newer by itself."""
        return self.kind in ("folder", "archive") and "://" not in self.url

    @classmethod
    def read(cls, home: Home, app_id: str) -> Self | None:
        """What is known of an app's source; None if ``hhtui add`` did not bring it. InvalidInputError: broken."""
        path = home.app_source(app_id)
        try:
            return cls.model_validate(read_json_object(path, _MAX_BYTES))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise InvalidInputError(f"{path}: {first_problem(error)}") from None
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{path}: {error}") from None

    def write(self, home: Home, app_id: str) -> None:
        """Keep it, durably; OSError leaves what was there."""
        home.sources_dir.mkdir(mode=0o750, exist_ok=True)
        write_json(home.app_source(app_id), self.model_dump(mode="json"), 0o600)


class AppJob(Model):
    """A job about an app, running or ended; times are seconds, ``done`` and ``total`` bytes (0: not known).

    ``app_id`` is empty until it is known. ``step`` is for programs, ``message`` a line for people. With ``preview`` it
    waits for POST /api/v1/jobs/{id}/confirm, or cancel: that is what it is about to do. ``final``: it cannot be
    cancelled any more.
    """

    id: str
    kind: JobKind
    app_id: str = ""
    state: JobState = "running"
    step: str = ""
    done: int = 0
    total: int = 0
    message: str = ""
    preview: dict[str, Any] | None = None
    final: bool = False
    result: dict[str, Any] | None = None
    error: str | None = None
    slug: str | None = None


class _Request(Model):
    model_config = ConfigDict(extra="forbid")


class Origin(_Request):
    """Where an app is to come from. ``source`` is a URL, an app's name in a catalogue (``NAME``, ``CATALOG/NAME``), or,
    with ``upload`` from POST /api/v1/uploads, what the client calls the folder or archive that it has sent.

    ``folder`` is the app's inside, ``ref`` a tag, branch or commit.
    """

    source: str = Field(min_length=1, max_length=4096)
    kind: SourceKind | None = None
    upload: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")
    folder: str | None = Field(None, max_length=500)
    ref: str | None = Field(None, min_length=1, max_length=200)


class AddRequest(Origin):
    """Which app to add, from its ``Origin``. ``app_id`` is what it is to be called here; ``yes``: ask nothing, not even
    about an unknown ssh host."""

    app_id: str | None = Field(None, max_length=63)
    yes: bool = False


class CatalogRequest(_Request):
    """A catalogue to know: the ``url`` of a git repository or archive, or a folder that the engine can read.

    ``name`` is what it is to be called, else what its address ends with; ``yes`` as in AddRequest.
    """

    url: str = Field(min_length=1, max_length=4096)
    name: str | None = Field(None, max_length=63)
    ref: str | None = Field(None, min_length=1, max_length=200)
    yes: bool = False


class CatalogApp(Model):
    """An app that a catalogue offers; ``needs`` are names of secrets and required apps, ``error`` is a broken one's."""

    app_id: str
    catalog: str
    folder: str
    name: str = ""
    description: str = ""
    version: str = ""
    type: str = ""
    tags: list[str] = Field(default_factory=list)
    secrets: list[str] = Field(default_factory=list)
    requires: list[str] = Field(default_factory=list)
    installs: bool = False
    error: str | None = None


class Catalog(Model):
    """A catalogue that is known here; kept in ``HOME/config/catalogs/<name>.json`` with what it offers."""

    name: str
    url: str
    ref: str | None = None
    revision: str = ""
    updated_at: datetime | None = None
    apps: list[CatalogApp] = Field(default_factory=list)
