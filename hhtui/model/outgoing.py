"""What of an app's record leaves the engine for others than its owner: Redis, the read-only export, doctor's report.

No values of variables, no commands, nothing that we do not know: any of these may hold a password.
"""

from __future__ import annotations

import re
from typing import Any

from hhtui.model.app import AppRecord
from hhtui.model.config_file import SECRET_SHOWN
from hhtui.model.manifest import PublishedConfig

_HARMLESS = frozenset(
    {
        "name", "type", "description", "version", "author", "main", "main_file", "endpoints", "autostart", "restart",
        "stop", "start", "depends_on", "requires", "restart_with", "limits", "schedule", "streamlit_ttl_seconds",
        "on_demand", "group", "tags", "events", "redis_keys",
    }
)  # fmt: skip
# Names may be shown, values not.
_NAMES_ONLY = ("environment", "setup_commands")
_CONFIG = frozenset(PublishedConfig.model_fields) - {"port", "mcp_port", "redis_url"}
# An index or a repository may be asked with a password in its address.
_ADDRESS = re.compile(r"\S*://\S*")


def outgoing_record(record: AppRecord) -> AppRecord:
    """The record as others may see it; its owner sees it whole, on the socket."""
    info = record.runtime_info.model_copy(update={"install_progress": None})
    return record.model_copy(update={"manifest": _outgoing_manifest(record.manifest), "runtime_info": info})


def _outgoing_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    public = {name: value for name, value in manifest.items() if name in _HARMLESS}
    for name in _NAMES_ONLY:
        values = manifest.get(name)
        if isinstance(values, dict):
            public[name] = dict.fromkeys(values, SECRET_SHOWN)
        elif isinstance(values, list):
            public[name] = [SECRET_SHOWN] * len(values)
    requirements = manifest.get("requirements")
    if isinstance(requirements, str):
        public["requirements"] = requirements
    elif isinstance(requirements, list):
        public["requirements"] = [_ADDRESS.sub(SECRET_SHOWN, str(word)) for word in requirements]
    config = manifest.get("config")
    if isinstance(config, dict):
        public["config"] = {name: value for name, value in config.items() if name in _CONFIG}
    return public
