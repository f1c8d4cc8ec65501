"""An alert: something that its rule in the configuration wants the user to know, for as long as it holds."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import field_serializer

from hhtui.model.base import Model
from hhtui.text import iso_utc

AlertRule = Literal["temperature", "memory", "disk", "throttling", "app_failed", "health_error"]


class Alert(Model):
    """``key`` names it over time (``disk:/``, ``app_failed:web``); ``value`` and ``limit`` are °C or percent.

    ``message`` is one line for people; value and message are the newest, ``raised_at`` stays.
    """

    key: str
    rule: AlertRule
    message: str
    app_id: str | None = None
    value: float | None = None
    limit: float | None = None
    raised_at: datetime

    @field_serializer("raised_at")
    def _raised_at(self, value: datetime) -> str:
        return iso_utc(value, milliseconds=True)
