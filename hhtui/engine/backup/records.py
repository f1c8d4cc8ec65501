"""The registry's files read and left as they are: only an engine may set a broken one aside."""

from __future__ import annotations

from pydantic import ValidationError

from hhtui.model.app import AppRecord
from hhtui.paths import Home
from hhtui.storage import read_json_object


def read_records(home: Home) -> tuple[dict[str, AppRecord], dict[str, int], list[str]]:
    """The records by app, the assigned ports, and a line for each file that cannot be read."""
    records: dict[str, AppRecord] = {}
    ports: dict[str, int] = {}
    problems: list[str] = []
    try:
        for app_id, entry in dict(read_json_object(home.apps_json).get("apps") or {}).items():
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
