"""What of an app's record may leave the machine: no environment values, no commands, nothing we do not know."""

from __future__ import annotations

from typing import Any

from hhtui.model.app import AppRecord
from hhtui.model.config_file import SECRET_SHOWN

# Commands, arguments and unknown fields can carry a password, so they stay behind.
_PUBLIC_FIELDS = frozenset(
    {
        "name", "type", "description", "version", "author", "main", "main_file", "endpoints", "autostart", "restart",
        "stop", "start", "depends_on", "limits", "schedule", "streamlit_ttl_seconds", "on_demand",
    }
)  # fmt: skip


def exported_record(record: AppRecord) -> dict[str, Any]:
    """The record as JSON with the manifest reduced to what is known to be harmless; variables keep their names."""
    document = record.model_dump(mode="json")
    manifest: dict[str, Any] = document["manifest"]
    public = {name: value for name, value in manifest.items() if name in _PUBLIC_FIELDS}
    environment = manifest.get("environment")
    if isinstance(environment, dict):
        public["environment"] = dict.fromkeys(environment, SECRET_SHOWN)
    document["manifest"] = public
    document["runtime_info"]["install_progress"] = None
    return document
