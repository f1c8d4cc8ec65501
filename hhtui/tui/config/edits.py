"""The configuration as the screen holds it: keys, values, where they come from, and edits that are not saved yet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hhtui.text import sanitise

_HIDDEN = "********"


@dataclass(frozen=True, slots=True)
class Setting:
    """One ConfigKey; every text is safe to show."""

    key: str
    help: str = ""
    type: str = ""
    allowed: str = ""
    default: Any = None
    nullable: bool = False
    secret: bool = False
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a comparison, in words."""

    key: str
    old: str
    new: str


class ConfigEdits:
    """``pending`` are values by dotted key, None for "back to the default"; ``errors`` say what is wrong with one."""

    def __init__(self) -> None:
        self.settings: dict[str, Setting] = {}
        self.pending: dict[str, Any] = {}
        self.errors: dict[str, str] = {}
        self.path = ""
        self.notes: tuple[tuple[str, str], ...] = ()
        self.restart_needed: tuple[str, ...] = ()
        self._values: dict[str, Any] = {}
        self._sources: dict[str, str] = {}
        self._in_file: frozenset[str] = frozenset()

    def take_keys(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """ConfigKeys."""
        settings = (_setting(document) for document in documents)
        self.settings = {setting.key: setting for setting in settings if setting.key}

    def take_view(self, view: Mapping[str, Any]) -> None:
        """A ConfigView."""
        values, sources = view.get("values"), view.get("sources")
        self.path = str(view.get("path") or "")
        self._values = _flat(values if isinstance(values, dict) else {})
        self._sources = {str(key): str(value) for key, value in (sources if isinstance(sources, dict) else {}).items()}
        self._in_file = frozenset(_texts(view, "in_file"))
        self.restart_needed = _texts(view, "restart_needed")
        problems = [("bad", f"{text}; what was in force before stays") for text in _texts(view, "problems")]
        waiting = []
        if self.restart_needed:
            waiting = [("warning", f"Takes effect when the engine is reloaded: {', '.join(self.restart_needed)}")]
        warnings = [("dim", text) for text in _texts(view, "warnings")]
        self.notes = (*problems, *waiting, *warnings)

    def rows(self, filter_text: str) -> list[str]:
        """The keys whose name, value, source or help holds every word of the filter."""
        words = filter_text.casefold().split()
        return [
            key
            for key, setting in self.settings.items()
            if all(word in self._searched(setting).casefold() for word in words)
        ]

    def _searched(self, setting: Setting) -> str:
        return f"{setting.key} {self.shown(setting.key)} {self.source(setting.key)} {setting.help}"

    def shown(self, key: str) -> str:
        """The value in force, in words."""
        return self.words(key, self._values.get(key))

    def words(self, key: str, value: Any) -> str:
        """Any value of ``key`` in words; of a secret only whether there is one."""
        setting = self.settings.get(key)
        if setting is not None and setting.secret:
            return "set" if value else "not set"
        if value is None:
            return "not set"
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        return sanitise(text, 300) or '""'

    def pending_words(self, key: str) -> str:
        """What is to be the value, in words."""
        value = self.pending[key]
        if value is None:
            default = self.settings[key].default
            return f"{self.words(key, default)} (default)" if default is not None else "not set"
        return "set anew" if self.settings[key].secret else self.words(key, value)

    def source(self, key: str) -> str:
        """``default``, ``file``, ``environment`` or ``.env``."""
        source = self._sources.get(key)
        if source is not None:
            return "environment" if source.startswith("environment ") else ".env"
        return "file" if key in self._in_file else "default"

    def overridden(self, key: str) -> str:
        """Which variable sets ``key`` whatever the file says; "" if none does."""
        return sanitise(self._sources.get(key, ""), 300)

    def to_type(self, key: str) -> str:
        """The text to begin an edit with: the pending value, else the one in force; nothing of a secret."""
        setting = self.settings[key]
        value = self.pending.get(key, self._values.get(key))
        if setting.secret or value is None:
            return ""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

    def edit(self, key: str, text: str) -> bool:
        """Take what was typed as the pending value; whether anything is pending for ``key`` now."""
        setting = self.settings[key]
        if setting.secret and not text.strip():
            return key in self.pending
        value = _parsed(setting, text)
        now = self._values.get(key)
        same = value == now and type(value) is type(now) and not setting.secret
        if same or (value is None and key not in self._in_file and now in (None, setting.default)):
            self.forget(key)
            return False
        self.pending[key] = value
        return True

    def forget(self, key: str) -> bool:
        """Whether there was an edit to forget."""
        self.errors.pop(key, None)
        return self.pending.pop(key, self) is not self

    def failed(self, key: str, message: str) -> None:
        """What the engine says against the edits, shown at ``key``."""
        self.errors = {key: sanitise(message.removeprefix(f"{self.path}: "), 300)}

    def patch(self) -> dict[str, Any]:
        """All pending edits as one merge patch."""
        whole: dict[str, Any] = {}
        for key, value in self.pending.items():
            *parents, last = key.split(".")
            part = whole
            for name in parents:
                part = part.setdefault(name, {})
            part[last] = value
        return whole

    def changes(self) -> list[Change]:
        """What saving would change."""
        return [Change(key, self.shown(key), self.pending_words(key)) for key in sorted(self.pending)]

    def changes_of(self, documents: Iterable[Any]) -> list[Change]:
        """ConfigChanges in words."""
        found = []
        for document in documents:
            if isinstance(document, dict) and document.get("key"):
                key, old, new = str(document["key"]), document.get("old"), document.get("new")
                both = old == new == _HIDDEN
                words = "set to another" if both else self.words(key, new)
                found.append(Change(sanitise(key, 120), self.words(key, old), words))
        return found


def _setting(document: Mapping[str, Any]) -> Setting:
    return Setting(
        key=str(document.get("key") or ""),
        help=sanitise(str(document.get("help") or ""), 300),
        type=sanitise(str(document.get("type") or ""), 60),
        allowed=sanitise(str(document.get("allowed") or ""), 200),
        default=document.get("default"),
        nullable=document.get("nullable") is True,
        secret=document.get("secret") is True,
        restart=document.get("restart") is True,
    )


def _parsed(setting: Setting, text: str) -> Any:
    text = text.strip()
    if text in ("", "null"):
        return None
    if setting.type in ("text", "choice"):
        return text
    if setting.type.startswith("list") and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return text


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = document.get(name)
    return tuple(sanitise(str(value), 400) for value in values) if isinstance(values, list) else ()
