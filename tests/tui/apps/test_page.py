"""What an app's page tells of its crashes, its schedule and what waits for a restart."""

from __future__ import annotations

from hhtui.errors import NotFoundError
from tests.tui import fake
from tests.tui.screen import running


async def test_the_last_lines_of_stderr_the_schedule_and_changed_names_stand_on_the_page() -> None:
    async with running(size=(140, 50)) as session:
        session.transport.change(
            "garden",
            status="running",
            exit={
                "code": 1,
                "at": fake.at(30),
                "words": "exited 1",
                "stderr": ["Traceback (most recent call last):", "OSError: \x1b]52;c;AAAA\x07no such pump"],
            },
            schedule={
                "expression": "*/5 * * * *",
                "next_run": fake.at(-300),
                "last_run": fake.at(0),
                "exit_code": 0,
                "skipped": 2,
            },
            environment=["PUMP_TOKEN"],
            environment_changed=["PUMP_TOKEN"],
        )
        session.transport.emit(fake.event(50, "app_started", "garden"))
        await session.on("garden")
        await session.press("enter")
        await session.shows(
            "Traceback (most recent call last):",
            "OSError: ␛]52;c;AAAA␇no such pump",
            "*/5 * * * *, next 2026-11-24",
            "exited 0, 2 skipped",
            "changed since start, restart it to apply:",
            "PUMP_TOKEN (restart to apply)",
        )


async def test_the_page_says_in_words_what_the_app_is_permitted() -> None:
    async with running(size=(240, 50)) as session:
        manifest = session.transport.records["garden"]["manifest"]
        permissions = {"apps": ["thermometer"], "control": True, "devices": ["none"]}
        session.transport.change("garden", manifest={**manifest, "permissions": permissions})
        session.transport.emit(fake.event(50, "app_changed", "garden"))
        await session.on("garden")
        await session.press("enter")
        await session.shows("reads the data of thermometer; starts and stops apps and reads all logs; sees the network")


async def test_the_page_shows_what_the_app_takes_on_its_disks_as_it_is_counted() -> None:
    transport = fake.FakeTransport()
    whole = transport.app_sizes_answer
    transport.app_sizes_answer = {"files": whole["files"], "environment": None, "measuring": True}
    async with running(transport, size=(200, 50)) as session:
        await session.on("thermometer")
        await session.press("enter")
        await session.until(lambda: "files 24.0 KiB, environment measuring…, data measuring…" in session.line("Sizes"))
        more = {"size_bytes": 2**33, "entries": 500_001, "whole": False}
        transport.app_sizes_answer = {**whole, "data": {"size_bytes": 0, "entries": 0, "whole": True}, "logs": more}
        await session.until(
            lambda: "files 24.0 KiB, environment 210.0 MiB, logs more than 8.0 GiB" in session.line("Sizes")
        )


async def test_an_engine_that_tells_no_sizes_yet_still_tells_the_processes() -> None:
    transport = fake.FakeTransport()

    async def app_sizes(app_id: str) -> fake.Document:
        raise NotFoundError("there is no such path")

    transport.app_sizes = app_sizes  # type: ignore[method-assign]
    async with running(transport, size=(160, 50)) as session:
        await session.on("thermometer")
        await session.press("enter")
        await session.shows("Processes", "1201", "Logs")
        assert "Sizes" not in session.text


async def test_an_update_under_a_running_app_tells_how_far_it_is() -> None:
    async with running(size=(200, 50)) as session:
        session.transport.change("garden", status="running", install_progress="Resolved 12 packages")
        session.transport.emit(fake.event(50, "app_started", "garden"))
        await session.until(lambda: "runs while it is updated" in session.line("Garden"))


async def test_the_page_shows_the_process_tree_and_what_the_logs_hold_and_follows_them() -> None:
    transport = fake.FakeTransport()
    async with running(transport, size=(160, 50)) as session:
        await session.on("thermometer")
        await session.press("enter")
        await session.shows("Processes", "   sensor", "1201", "40.0 MiB", "1d 2h")
        evil = "\x1b]52;c;eA==\x07" + "x" * 60
        child = {"pid": 1, "ppid": 1201, "name": evil, "user": "pi", "cpu_percent": 1, "memory_mb": 1, "seconds": 1}
        transport.app_processes_answer["thermometer"].append(child)
        await session.shows("xxxx")
        assert session.text.replace("\n", "").isprintable()
        transport.app_processes_answer.clear()
        await session.hides("1201")
