"""Writes the pages that are made from the code: ``make docs``. A test compares them with what is here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from hhtui import __version__
from hhtui.cli.main import root
from hhtui.engine.api.openapi import openapi_document
from hhtui.model.config import ConfigKey, config_keys
from hhtui.model.json_schema import SCHEMAS
from hhtui.model.operations import OPERATIONS, Access

HERE = Path(__file__).parent
_MARKS = {Access.SOCKET: " (socket only)", Access.APP: " (apps' sockets, too)", Access.EXPORT: ""}
_SCHEMA_FILES = {"metrics": "system_metrics.json"}

_API_HEAD = """# The control API

HTTP/1.1 with JSON. It is made for programs; the command line and the terminal interface use nothing else.

- `HOME/run/engine.sock` takes everything. Who may open the socket may do everything: see [security.md](security.md).
- `http://127.0.0.1:8000` (`system.host`, `system.main_port`) takes GET alone. It shows no environment values and no
  secrets, and refuses every Host or Origin that is not this machine.
- `HOMEHELPER_SOCKET` of an app with [the permission `control`](writing-an-app.md#the-engines-api) takes what TCP takes
  and what is marked "apps' sockets, too". What is for the socket alone it answers with 403, `forbidden`.

```sh
curl --unix-socket ~/.local/share/homehelper/run/engine.sock http://hh/api/v1/apps
curl http://127.0.0.1:8000/api/v1/system/metrics
```

An error is `{"error": "a_slug", "message": "One sentence.", "details": {}}` with 400, 403, 404, 405, 409, 413, 422 or
503. The tables have an operation's own errors; each can also answer 503, with a query 422, with a body 400, 413 and
422, on TCP and to apps 403. Every answer has an `X-Correlation-Id`; send your own, and all events that your request
causes carry it.

What takes time (start an app, make a backup) is answered with 202 as soon as it is saved. With `?wait=SECONDS` the
answer comes when it has settled: 200, or 202 if it has not by then.

The engine describes itself in OpenAPI 3.1 at `/api/v1/openapi.json`: every parameter and the form of every answer. What
follows is made from that description.
"""


def api_page() -> str:
    """docs/api.md."""
    document = openapi_document()
    lines = [_API_HEAD]
    for tag in dict.fromkeys(operation.tag for operation in OPERATIONS):
        lines.append(f"## {tag.capitalize()}\n")
        lines.append("| | | takes | answers | errors |\n| --- | --- | --- | --- | --- |")
        for row in OPERATIONS:
            if row.tag == tag:
                described = document["paths"][row.path][row.method.lower()]
                mark = _MARKS[row.access]
                lines.append(
                    f"| `{row.method} {row.path}`{mark} | {row.summary} | {_takes(described)} | {_answers(described)} "
                    f"| {', '.join(map(str, row.errors))} |"
                )
        lines.append("")
    return "\n".join(lines)


def _takes(operation: dict[str, Any]) -> str:
    words = [f"`{parameter['name']}`" for parameter in operation["parameters"] if parameter["in"] != "path"]
    if "requestBody" in operation:
        (media, content), *_ = operation["requestBody"]["content"].items()
        what = _name(content["schema"]) if media == "application/json" else "bytes"
        words.append(f"{what} in the body")
    return ", ".join(words)


def _answers(operation: dict[str, Any]) -> str:
    statuses = " or ".join(status for status in operation["responses"] if status.startswith("2"))
    content = next(answer["content"] for status, answer in operation["responses"].items() if status.startswith("2"))
    ((media, form),) = content.items()
    return f"{statuses}: {_name(form['schema']) if media == 'application/json' else media}"


def _name(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_name(schema['items'])}"
    return ", ".join(f"`{name}`" for name in schema.get("properties", schema.get("required", {})))


def configuration_page() -> str:
    """docs/configuration.md with its table of keys."""
    begin, end = "<!-- made from the code: keys -->\n", "\n<!-- end -->"
    before, _, rest = (HERE / "configuration.md").read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    lines = ["| key | default | |", "| --- | --- | --- |", *(_config_row(key) for key in config_keys())]
    return f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}"


def _config_row(key: ConfigKey) -> str:
    value = int(key.default) if isinstance(key.default, float) and key.default.is_integer() else key.default
    default = "none" if value is None else f"`{json.dumps(value).strip(chr(34))}`"
    allowed = f" ({key.allowed})" if key.allowed else ""
    return f"| `{key.key}`{' ↻' if key.restart else ''} | {default} | {key.help.rstrip('.')}{allowed} |"


def manual_page() -> str:
    """docs/man/hhtui.1, in man(7)'s macros."""
    context = click.Context(root, info_name="hhtui")
    lines = [
        f'.TH HHTUI 1 "" "hhtui {__version__}" "User Commands"',
        ".SH NAME\nhhtui \\- run, watch and heal home apps on a Raspberry Pi",
        ".SH SYNOPSIS\n.B hhtui\n[\\fIOPTIONS\\fR] [\\fICOMMAND\\fR [\\fIARGUMENTS\\fR]]",
        f".SH DESCRIPTION\n{_roff(root.get_short_help_str(500))}",
        "It attaches to the home's engine, or starts one. The commands speak to the same engine.",
        ".SH OPTIONS",
        *_options(root, context),
        ".SH COMMANDS",
    ]
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command is not None
        lines += _command(command, f"hhtui {name}", context)
    lines.append(
        """.SH FILES
.TP
.I HOME/apps/<app>/homehelper.json
An app's manifest. HOME is \\-\\-home, else $HOMEHELPER_HOME, else /opt/homehelper, else ~/.local/share/homehelper.
.TP
.I HOME/config/config.json
The configuration; HOME/config/.env and variables such as HOMEHELPER_REDIS__HOST override it.
.TP
.I HOME/logs/<app>/app.log
What the app wrote, byte by byte.
.TP
.I HOME/run/engine.sock
Where the engine listens.
.SH EXIT STATUS
0 done; 1 it failed, the reason is on stderr; 2 the words of the command are wrong; 3 no engine runs on this home;
4 another engine runs on it; 5 there is no such app.
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1)"""
    )
    return "\n".join(lines) + "\n"


def _command(command: click.Command, path: str, parent: click.Context) -> list[str]:
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    if isinstance(command, click.Group):
        lines = []
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            lines += _command(child, f"{path} {name}", context)
        return lines
    usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    return [
        f".SS {path} {_roff(usage)}".rstrip(),
        _roff(" ".join((command.help or "").split())),
        *_options(command, context),
    ]


def _options(command: click.Command, context: click.Context) -> list[str]:
    lines = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is None or (
            context.parent is not None and record[0].partition(" ")[0] in ("-q,", "--json", "--home")
        ):
            continue
        if context.parent is not None and "--help" in record[0]:
            continue
        lines += [".TP", f".B {_roff(record[0])}", _roff(record[1])]
    return lines


def _roff(text: str) -> str:
    # A terminal without UTF-8 has no ellipsis.
    text = re.sub(r"\s+", " ", text.replace("…", "...")).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def pages() -> dict[Path, str]:
    """Every generated file with its text."""
    made = {
        HERE / "schema" / _SCHEMA_FILES.get(name, f"{name}.json"): json.dumps(schema(), indent=2) + "\n"
        for name, schema in SCHEMAS.items()
    }
    return {
        **made,
        HERE / "api.md": api_page(),
        HERE / "configuration.md": configuration_page(),
        HERE / "man" / "hhtui.1": manual_page(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
