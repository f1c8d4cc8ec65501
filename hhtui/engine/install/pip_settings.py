"""What pip is set to on this machine, as uv understands it: uv reads neither pip's files nor its variables.

Files and variables: pip.pypa.io, "Configuration"; uv's variables: docs.astral.sh/uv, "Environment variables".
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_INDEX = "UV_DEFAULT_INDEX"
# pip's name, uv's variable, and what stands between several values there (None: there is one).
_SAME = (
    ("index-url", _INDEX, None),
    ("extra-index-url", "UV_EXTRA_INDEX_URL", " "),
    ("find-links", "UV_FIND_LINKS", ","),
    ("constraint", "UV_CONSTRAINT", " "),
    ("trusted-host", "UV_INSECURE_HOST", " "),
    ("cert", "SSL_CERT_FILE", None),
    ("client-cert", "SSL_CLIENT_CERT", None),
    ("default-timeout", "UV_HTTP_TIMEOUT", None),
    ("timeout", "UV_HTTP_TIMEOUT", None),
    ("proxy", "ALL_PROXY", None),
    ("keyring-provider", "UV_KEYRING_PROVIDER", None),
)
_SWITCHES = (
    ("no-index", "UV_NO_INDEX", "1"),
    ("pre", "UV_PRERELEASE", "allow"),
    ("require-hashes", "UV_REQUIRE_HASHES", "1"),
)
# ``:all:`` or names.
_FORMATS = (
    ("only-binary", "UV_NO_BUILD", "UV_NO_BUILD_PACKAGE"),
    ("no-binary", "UV_NO_BINARY", "UV_NO_BINARY_PACKAGE"),
)
# Older spellings of uv's own variables: who has set these has said what uv is to do.
_OLDER = {_INDEX: ("UV_INDEX_URL", "UV_INDEX"), "UV_EXTRA_INDEX_URL": ("UV_INDEX",)}


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's options for installing, by their long names without dashes; its variables win over its files."""
    found: dict[str, str] = {}
    for path in _files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    for name, value in environ.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE" and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return {name: value.strip() for name, value in found.items() if value.strip()}


def for_uv(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The settings as uv's variables, but for those that ``environ`` has set for uv itself."""
    found: dict[str, str] = {}
    for name, variable, between in _SAME:
        if value := settings.get(name):
            words = value.split()
            found[variable] = between.join(words) if between is not None else words[0]
    for name, variable, value in _SWITCHES:
        if settings.get(name, "").lower() in ("1", "true", "yes", "on"):
            found[variable] = value
    for name, whole, packages in _FORMATS:
        words = settings.get(name, "").replace(",", " ").split()
        if ":all:" in words:
            found[whole] = "1"
        elif words and words != [":none:"]:
            found[packages] = " ".join(words)
    if "UV_EXTRA_INDEX_URL" in found:
        # As pip does it: the best version of all indexes.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {
        variable: value
        for variable, value in found.items()
        if not any(name in environ for name in (variable, *_OLDER.get(variable, ())))
    }


def _files(environ: Mapping[str, str]) -> list[Path]:
    """pip's configuration files, the later ones win."""
    own = environ.get("PIP_CONFIG_FILE")
    if own == os.devnull:
        return []
    home = Path(environ.get("HOME") or "/")
    config_home = environ.get("XDG_CONFIG_HOME") or str(home / ".config")
    shared = [Path(folder) for folder in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if folder]
    files = [folder / "pip" / "pip.conf" for folder in reversed(shared)]
    files += [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", Path(config_home) / "pip" / "pip.conf"]
    files.append(Path(sys.prefix) / "pip.conf")
    return [*files, Path(own)] if own else files
