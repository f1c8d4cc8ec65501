"""Text as an attacker would write it, in every place where an app, a log, Redis or a file can put text."""

from __future__ import annotations

from tests.tui import fake

CLIPBOARD = "\x1b]52;c;ZXZpbA==\x07"
TITLE = "\x1b]0;owned\x07"
C1 = "\x9b2J\x9d0;owned\x9c\x90q\x9c"
CURSOR = "\x1b[2J\x1b[1;1Howned\x1b[?1049l\x1b[?25l\r\x08\x0b"
BIDI = "\u202eevil\u2066\u2069\u200f"
MARKUP = "[bold red]markup[/] [@click=app.quit]click[/]"
ALL = f"X{CLIPBOARD}{TITLE}{C1}{CURSOR}{BIDI}{MARKUP}\x1bP1$r\x1b\\\x1b_apc\x1b\\\x00\x7f"
# What must never be written to the terminal because of it.
FORBIDDEN = (
    b"\x1b]52", b"\x1b]0;owned", b"ZXZpbA==\x07", b"\x1b[1;1Howned", b"\xc2\x9b", b"\xc2\x9d", b"\xc2\x90",
    b"\xe2\x80\xae", b"\xe2\x81\xa6", b"\x1bP", b"\x1b_", b"\x08", b"\x0b", b"\x00", b"\x7f",
)  # fmt: skip


def hostile_transport() -> fake.FakeTransport:
    """Everything that comes from outside says ``ALL``."""
    transport = fake.FakeTransport()
    transport.records = {
        "evil": fake.app(
            "evil",
            name=f"Evil{ALL}",
            description=ALL,
            version=ALL,
            type=ALL,
            path=ALL,
            warnings=[ALL],
            manifest={
                "name": ALL,
                ALL: ALL,
                "depends_on": [ALL],
                "environment": {ALL: ALL},
                "endpoints": {"ui": f"/{ALL}"},
            },
            health="warning",
            health_report={
                "health": "warning",
                "message": ALL,
                "extra_info": {ALL: ALL, "list": [ALL]},
                "checked_at": fake.at(5),
            },
            error=ALL,
            reason=ALL,
            service_name=ALL,
            process_id=66,
            started_at=fake.at(100),
            exit={"code": 1, "at": fake.at(30), "words": ALL},
        ),
        "evil2": fake.app("evil2", "failed", name=f"{ALL}", error=ALL),
        "evil3": fake.app("evil3", "installing", name=ALL, install_progress=ALL),
    }
    transport.logs_of = {
        ("evil", "app"): [ALL, f"\x1b[31mred\x1b[0m {ALL}", "\x1b[38;5;1;2;3mfine", ALL * 200],
        ("evil", ALL): [ALL],
    }
    transport.sample["hardware"]["board"]["model"] = ALL
    transport.sample["redis_status"].update(status="disconnected", connected=False, error=ALL, host=ALL)
    transport.about.update(version=ALL, problems=[ALL])
    transport.history = [
        fake.event(1, "app_failed", "evil2", 30, error=ALL),
        fake.event(2, f"new_type{ALL}", f"evil{ALL}", 20, message=ALL, **{ALL: ALL}),
        fake.event(3, "app_crashed", "evil", 10, reason=ALL, stderr=[ALL, ALL]),
        fake.foreign(4, f"homehelper:events:{ALL}", {ALL: [ALL]}),
        fake.foreign(5, "homehelper:events:raw", text=ALL),
    ]
    transport.about.update(home=ALL, socket_users=ALL, export=ALL)
    transport.processes_answer = [{"pid": 7, "name": ALL, "user": ALL, "cpu_percent": 1.0, "app_id": ALL}]
    transport.redis_answer.update(status=ALL, host=ALL, server=ALL, version=ALL, why=ALL, error=ALL)
    transport.redis_answer["details"] = {"clients": ALL, "keys": ALL, "stream_events": ALL, "error": ALL}
    transport.up_alerts = [{"rule": ALL, "message": ALL, "raised_at": ALL, "limit": 1.0}]
    transport.file["process_manager"] = {"data_dir": ALL}
    transport.sources = {"redis.host": f"environment {ALL}"}
    transport.config_problems = [ALL]
    return transport
