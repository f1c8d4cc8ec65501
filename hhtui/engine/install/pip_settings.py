"""What pip is set to on this machine, as uv understands it: uv reads neither pip's files nor its variables.

Both are told it by variables where they run kept apart, since the owner's files are not there.

Files and variables: pip.pypa.io, "Configuration"; uv's variables: docs.astral.sh/uv, "Environment variables".
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Collection, Mapping
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
# What of it may name files and folders, and the variables that do.
_OF_PATHS = ("index-url", "extra-index-url", "find-links", "constraint", "cert", "client-cert")
_VARIABLES_OF_PATHS = (
    _INDEX, "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT",
    "UV_OVERRIDE", "UV_EXCLUDE", "UV_CONFIG_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT",
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
_BETWEEN_PATHS = re.compile(r"[\s,]+")


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


def owners_settings(environ: Mapping[str, str], declared: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """What the owner's files say, as variables of pip's and uv's, and the files and folders that are named there.

    Of ``environ`` the ``declared`` variables are the app's own: they win, and none of them leads to a file.
    """
    owners = {name: value for name, value in environ.items() if name not in declared}
    settings = pip_settings(owners)
    variables = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in settings.items()}
    variables = {name: value for name, value in variables.items() if name not in declared}
    if not owners.keys() & {"UV_CONFIG_FILE", "UV_NO_CONFIG"}:
        config = _config_home(owners) / "uv" / "uv.toml"
        if config.is_file():
            variables["UV_CONFIG_FILE"] = owners["UV_CONFIG_FILE"] = str(config)
    told = [*(settings.get(name, "") for name in _OF_PATHS), *(owners.get(name, "") for name in _VARIABLES_OF_PATHS)]
    words = (word.removeprefix("file://") for text in told for word in _BETWEEN_PATHS.split(text))
    paths = [word for word in dict.fromkeys(words) if word.startswith("/") and os.path.exists(word)]
    return {**variables, "PIP_CONFIG_FILE": os.devnull}, paths


def _config_home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "/", ".config"))


def _files(environ: Mapping[str, str]) -> list[Path]:
    """pip's configuration files, the later ones win."""
    own = environ.get("PIP_CONFIG_FILE")
    if own == os.devnull:
        return []
    home = Path(environ.get("HOME") or "/")
    shared = [Path(folder) for folder in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if folder]
    files = [folder / "pip" / "pip.conf" for folder in reversed(shared)]
    files += [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", _config_home(environ) / "pip" / "pip.conf"]
    files.append(Path(sys.prefix) / "pip.conf")
    return [*files, Path(own)] if own else files
