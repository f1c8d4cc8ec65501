"""Apps as systemd services (systemd.service(5), systemd.exec(5), systemd.resource-control(5), systemd.time(7)).

``homehelper-<app_id>.service``, its ``.timer``, and what is secret in its ``.env`` alone: anybody may read a unit with
``systemctl show``, wherever its file lies.
"""

from __future__ import annotations

import re

from hhtui.engine.export.spec import AppSpec
from hhtui.engine.launch.environment import DATABASE_VARIABLE

# Where an administrator's units are (systemd.unit(5), "Unit File Load Path"), and so the files that they name.
UNIT_FOLDER = "/etc/systemd/system"
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_RESTARTS = {"always": "always", "on-failure": "on-failure", "never": "no"}
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_FIELD = re.compile(r"(\*|\d+(-\d+)?)(/\d+)?(,(\d+(-\d+)?)(/\d+)?)*\Z")


def unit_name(app_id: str) -> str:
    """``homehelper-<app_id>.service``."""
    return f"homehelper-{app_id}.service"


def systemd_files(specs: list[AppSpec], notes: list[str]) -> dict[str, str]:
    """A ``.service`` an app, a ``.timer`` where it is scheduled, and a ``.env`` where it has secrets."""
    files: dict[str, str] = {}
    known = {spec.app_id for spec in specs}
    for spec in specs:
        calendar = None
        if spec.manifest.schedule is not None:
            calendar = calendar_of(spec.manifest.schedule)
            if calendar is None:
                notes.append(
                    f"{spec.app_id}: its schedule {spec.manifest.schedule!r} has no form in systemd's calendar"
                )
        files[unit_name(spec.app_id)] = _service(spec, known, scheduled=calendar is not None)
        if spec.secrets:
            files[_secrets_file(spec.app_id)] = "".join(f"{name}={_env_value(v)}\n" for name, v in spec.secrets.items())
            notes.append(
                f"{spec.app_id}: its secrets are in {_secrets_file(spec.app_id)}: put it into {UNIT_FOLDER}, too"
            )
        if calendar is not None:
            files[f"homehelper-{spec.app_id}.timer"] = (
                f"[Unit]\nDescription={_text(spec.manifest.name)}, by its schedule\n\n"
                f"[Timer]\nOnCalendar={calendar}\nPersistent=yes\n\n[Install]\nWantedBy=timers.target\n"
            )
    return files


def _service(spec: AppSpec, known: set[str], *, scheduled: bool) -> str:
    manifest = spec.manifest
    needed = " ".join(unit_name(name) for name in spec.depends_on if name in known)
    restart = manifest.restart
    unit = [f"Description={_text(manifest.name)}", f"After=network-online.target {needed}".rstrip()]
    unit += ["Wants=network-online.target"]
    if needed:
        unit.append(f"Requires={needed}")
    unit += [f"StartLimitIntervalSec={restart.window_seconds:g}", f"StartLimitBurst={max(restart.max_restarts, 1)}"]
    service = [
        "Type=oneshot" if scheduled else "Type=exec",
        f"WorkingDirectory={_path(str(spec.folder))}",
        f"ExecStart={' '.join(_word(word, spec.secrets.get(DATABASE_VARIABLE)) for word in spec.argv)}",
    ]
    service += [f"Environment={_quoted(f'{name}={value}')}" for name, value in spec.environment.items()]
    if spec.secrets:
        service.append(f"EnvironmentFile={UNIT_FOLDER}/{_secrets_file(spec.app_id)}")
    if not scheduled:
        service += [f"Restart={_RESTARTS[restart.policy]}", f"RestartSec={restart.backoff_seconds:g}"]
    service += [f"KillSignal={manifest.stop.signal}", f"TimeoutStopSec={manifest.stop.timeout_seconds:g}"]
    if manifest.limits.memory_mb is not None:
        service.append(f"MemoryMax={int(manifest.limits.memory_mb * 1_048_576)}")
    if manifest.limits.cpu_percent is not None:
        service.append(f"CPUQuota={manifest.limits.cpu_percent:g}%")
    service += ["NoNewPrivileges=yes", "PrivateTmp=yes"]
    sections = {"Unit": unit, "Service": service}
    if not scheduled:
        sections["Install"] = ["WantedBy=multi-user.target"]
    return "\n".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items())


def _secrets_file(app_id: str) -> str:
    return f"homehelper-{app_id}.env"


def _env_value(value: str) -> str:
    """A value of an EnvironmentFile=, whose quotes may span lines (systemd.exec(5))."""
    if "'" not in value:
        return f"'{value}'"
    return '"' + re.sub(r'(["\\`$])', r"\\\1", value) + '"'


def _word(text: str, database: str | None) -> str:
    """One word of ExecStart=; the address of the ``database``, which is secret, is put in from its variable."""
    parts = text.split(database) if database else [text]
    return _quoted(f"${{{DATABASE_VARIABLE}}}".join(part.replace("$", "$$") for part in parts))


def _quoted(text: str) -> str:
    """A text in double quotes, as systemd.syntax(7) has it; ``%`` begins a specifier."""
    text = text.replace("%", "%%")
    return f'"{"".join(_SHORT.get(c) or (c if c.isprintable() else _escaped(c)) for c in text)}"'


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _path(text: str) -> str:
    return text.replace("%", "%%")


def _text(text: str) -> str:
    return " ".join(text.replace("%", "%%").split()) or "an app"


def calendar_of(cron: str) -> str | None:
    """The calendar event of a cron expression of five fields; None if there is none that means the same."""
    named = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
             "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}  # fmt: skip
    fields = named.get(cron.strip(), cron).split()
    if len(fields) != 5 or not all(_FIELD.match(field) for field in fields):
        return None
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        return None  # cron takes either of both, systemd only days that are both
    days = ""
    if weekday != "*":
        try:
            names = [_day_range(part) for part in weekday.split(",")]
        except (ValueError, IndexError):
            return None
        days = f"{','.join(names)} "
    return f"{days}*-{_span(month, 1)}-{_span(day, 1)} {_span(hour, 0)}:{_span(minute, 0)}:00"


def _day_range(part: str) -> str:
    first, _, last = part.partition("-")
    start = _DAYS[int(first) % 7]
    return f"{start}..{_DAYS[int(last) % 7]}" if last else start


def _span(field: str, lowest: int) -> str:
    """``*/5`` → ``0/5``, ``1-5`` → ``1..5``."""
    parts = []
    for part in field.split(","):
        span, slash, step = part.partition("/")
        span = str(lowest) if span == "*" and slash else span.replace("-", "..")
        parts.append(f"{span}{slash}{step}")
    return ",".join(parts)
