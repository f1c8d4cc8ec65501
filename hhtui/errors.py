"""Errors that a user, an app, a file or the network can cause: one clear line each, never a traceback."""

from __future__ import annotations

from typing import Any


class HomeHelperError(Exception):
    """An error in one sentence: what is wrong, where, and how to fix it.

    ``slug`` is the machine's word for it, ``http_status`` what the API answers with, ``exit_code``
    what the command line ends with (docs/api.md, docs/command-line.md).
    """

    slug = "failed"
    http_status = 503
    exit_code = 1

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInputError(HomeHelperError):
    """The request or a file is not of the form it must have."""

    slug = "invalid"
    http_status = 422
    exit_code = 1


class UsageError(HomeHelperError):
    """The words of a command are wrong."""

    slug = "usage"
    http_status = 400
    exit_code = 2


class UnknownAppError(HomeHelperError):
    """No app of that id is known on this home."""

    slug = "unknown_app"
    http_status = 404
    exit_code = 5


class ForbiddenError(HomeHelperError):
    """Whoever asks may not: an app that may use the engine's API may not use all of it."""

    slug = "forbidden"
    http_status = 403
    exit_code = 1


class NotFoundError(HomeHelperError):
    """What was asked for does not exist, though its app does."""

    slug = "not_found"
    http_status = 404
    exit_code = 1


class ConflictError(HomeHelperError):
    """It cannot be done in the state that the app or the engine is in."""

    slug = "conflict"
    http_status = 409
    exit_code = 1


class NoEngineError(HomeHelperError):
    """No engine runs on this home."""

    slug = "no_engine"
    http_status = 503
    exit_code = 3


class EngineRunsError(HomeHelperError):
    """Another engine runs on this home."""

    slug = "engine_runs"
    http_status = 409
    exit_code = 4


class NotSavedError(HomeHelperError):
    """It cannot be remembered: the disk is full, read-only, faulty or slow. ``details["done"]``: done all the same."""

    slug = "not_saved"
    http_status = 503
    exit_code = 1
