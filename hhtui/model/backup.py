"""Backups, jobs and restores as the API and the command line speak of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, SecretStr, field_validator

from hhtui.model.base import Model

Step = Literal["backup", "prove", "check", "restore"]


class _Request(Model):
    model_config = ConfigDict(extra="forbid")

    passphrase: SecretStr | None = None

    @field_validator("passphrase")
    @classmethod
    def _one_line(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (not value.get_secret_value() or set(value.get_secret_value()) & set("\n\r\0")):
            raise ValueError("must be one line and not empty")
        return value


class BackupRequest(_Request):
    """What to back up. ``file`` is absolute, none means backups/; ``data`` adds the apps and their data, none means
    as configured; ``recipient`` is an age or OpenPGP public key to encrypt to, ``passphrase`` the other way.
    """

    file: str | None = Field(None, min_length=1, max_length=4096)
    data: bool | None = None
    keep: int | None = Field(None, ge=1, le=10_000)
    recipient: str | None = Field(None, min_length=1, max_length=4096)


class RestoreRequest(_Request):
    """Which archive to restore; ``identity`` is age's key file. ``dry_run`` only checks and reports what would change;
    ``no_rollback`` keeps the restored state even if an app does not come up in it.
    """

    file: str = Field(min_length=1, max_length=4096)
    dry_run: bool = False
    no_rollback: bool = False
    identity: str | None = Field(None, min_length=1, max_length=4096)


class BackupInfo(Model):
    """One archive; sizes in bytes, ``created_at`` as in its name."""

    name: str
    path: str
    bytes: int
    created_at: str | None = None
    encrypted: bool = False


class BackupJob(Model):
    """The job that runs, or the last one; ``done`` and ``total`` are bytes."""

    id: str
    kind: Step
    state: Literal["running", "done", "failed"] = "running"
    step: str = ""
    done: int = 0
    total: int = 0
    result: dict[str, Any] | None = None
    error: str | None = None


class BackupStatus(Model):
    """GET /api/v1/backups. Times are UTC; ``proven`` is the last test restore, ``restored`` the last real one."""

    backups: list[BackupInfo] = Field(default_factory=list)
    job: BackupJob | None = None
    schedule: str | None = None
    keep: int = 7
    next_at: str | None = None
    last_at: str | None = None
    last_error: str | None = None
    proven: dict[str, Any] | None = None
    restored: dict[str, Any] | None = None
