"""Of what a program printed last, the line with the cause is found."""

from __future__ import annotations

import pytest

from hhtui.engine.process.exit_status import cause_in


@pytest.mark.parametrize(
    ("printed", "cause"),
    [
        ("", ""),
        ("\n  \n", ""),
        ("just words", "just words"),
        (
            "docker: Error response from daemon: Conflict. The container name \"/db\" is already in use.\n\n"
            "Run 'docker run --help' for more information",
            'docker: Error response from daemon: Conflict. The container name "/db" is already in use.',
        ),
        ("usage: a.py [-h]\na.py: error: unrecognized arguments: -x", "a.py: error: unrecognized arguments: -x"),
        (
            "Traceback (most recent call last):\n  File \"app.py\", line 1, in <module>\n    import bulb\n"
            "ModuleNotFoundError: No module named 'bulb'",
            "ModuleNotFoundError: No module named 'bulb'",
        ),
        (
            "Traceback (most recent call last):\n  File \"app.py\", line 3, in <module>\n"
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings\nport\n"
            "  Field required [type=missing]\n    For further information visit https://errors.pydantic.dev/2/v/missing",
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings",
        ),
        (
            "thread 'main' panicked at src/main.rs:4:5:\nno sensor\n"
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
            "thread 'main' panicked at src/main.rs:4:5: no sensor",
        ),
        (
            "panic: open /dev/i2c-1: permission denied\n\ngoroutine 1 [running]:\nmain.main()\n"
            "\t/src/main.go:9 +0x1d\nexit status 2",
            "panic: open /dev/i2c-1: permission denied",
        ),
        (
            "/app/x.js:1\nthrow new Error('boom')\n^\n\nError: boom\n    at Object.<anonymous> (/app/x.js:1:7)\n"
            "    at node:internal/main/run_main_module:28:49\n\nNode.js v18.19.0",
            "Error: boom",
        ),
        (
            'Exception in thread "main" java.lang.RuntimeException: late\n\tat Main.main(Main.java:3)\n'
            "Caused by: java.net.BindException: Address already in use\n\t... 1 more",
            "Caused by: java.net.BindException: Address already in use",
        ),
        ("./app.sh: line 3: mosquitto: command not found", "./app.sh: line 3: mosquitto: command not found"),
        ("app: cannot open /dev/ttyUSB0\nTry 'app --help' for more information.", "app: cannot open /dev/ttyUSB0"),
        ("git: 'psuh' is not a git command. See 'git --help'.", "git: 'psuh' is not a git command. See 'git --help'."),
        ("Run 'docker run --help' for more information", "Run 'docker run --help' for more information"),
        ("KeyError: 'port'\nbye", "KeyError: 'port'"),
        ("x" * 500, "x" * 200),
    ],
)  # fmt: skip
def test_the_line_with_the_cause_is_found(printed: str, cause: str) -> None:
    assert cause_in(printed.splitlines()) == cause
