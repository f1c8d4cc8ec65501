"""A home read and left as it is, for tasks beside its engine: only an engine may set a broken file aside."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from hhtui.errors import InvalidInputError
from hhtui.model.app import AppRecord, saved_entries
from hhtui.model.config import Config
from hhtui.model.config_file import load_config
from hhtui.paths import Home
from hhtui.storage import read_json_object


def read_records(home: Home) -> tuple[dict[str, AppRecord], dict[str, int], list[str]]:
    """The records by app, the assigned ports, and a line for each file that cannot be read."""
    records: dict[str, AppRecord] = {}
    ports: dict[str, int] = {}
    problems: list[str] = []
    try:
        for app_id, entry in saved_entries(read_json_object(home.apps_json)).items():
            records[str(app_id)] = AppRecord.model_validate(entry)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, ValidationError) as error:
        problems.append(f"{home.apps_json}: cannot be read: {_reason(error)}")
    try:
        assigned = dict(read_json_object(home.ports_json).get("assigned") or {})
        ports = {str(name): port for name, port in assigned.items() if type(port) is int}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError) as error:
        problems.append(f"{home.ports_json}: cannot be read: {_reason(error)}")
    return records, ports, problems


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "an entry is not valid"
    return str(error.strerror) if isinstance(error, OSError) else str(error)


def open_home(root: str) -> tuple[Home, Config, list[str]]:
    """The home with its configured folders; with a broken configuration the defaults, and a note about it."""
    home = Home.at(Path(root))
    try:
        config = load_config(home).config
        notes = []
    except InvalidInputError as error:
        config, notes = Config(), [f"the configuration is broken, default folders were assumed: {error.message}"]
    manager = config.process_manager
    return Home.at(Path(root), manager.data_dir, manager.logs_dir), config, notes
