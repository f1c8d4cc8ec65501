"""An app's page is opened in the user's browser where one would be seen; elsewhere its address is copied."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from hhtui.client import records
from hhtui.tui.session.browser import address_of_page, has_display, opened
from tests.tui import fake
from tests.tui.screen import running

BROWSER = """#!/bin/sh
given=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2)
printf '%s\\n' "$*" "$given" "TERM=$TERM" >"$0.new"
mv "$0.new" "$0.said"
exec sleep "$(cat "$0.stays" 2>/dev/null || echo 0)"
"""


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real command in $BROWSER that writes down what it is given, before a display that is not asked."""
    for name in ("SSH_CONNECTION", "SSH_TTY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    script = tmp_path / "browser"
    script.write_text(BROWSER)
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(script))
    monkeypatch.setenv("DISPLAY", ":77")
    return script


def said(browser: Path) -> list[str]:
    path = browser.with_name("browser.said")
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("place", ["dashboard", "app page"])
async def test_v_opens_the_page_in_the_browser_without_giving_it_the_terminal(browser: Path, place: str) -> None:
    async with running() as session:
        await session.on("thermometer")
        await session.press(*(("enter",) if place == "app page" else ()), "v")
        await session.shows("Thermometer opens in the browser: http://localhost:8100")
        await session.until(lambda: said(browser), "the browser")
        assert said(browser) == ["http://localhost:8100", *["/dev/null"] * 3, "TERM="]
        assert session.app.clipboard == ""


async def test_the_palette_visits_any_app(browser: Path) -> None:
    async with running() as session:
        await session.press("colon")
        await session.type("visit doorbell")
        await session.shows("Visit Doorbell")
        await session.press("enter")
        await session.until(lambda: said(browser), "the browser")
        assert said(browser)[0] == "http://localhost:8101"


@pytest.mark.parametrize("environ", [{"SSH_CONNECTION": "10.0.0.9 5 10.0.0.5 22"}, {"DISPLAY": ""}], ids=["ssh", "tty"])
async def test_where_no_browser_would_be_seen_the_reachable_address_is_copied(
    browser: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    async with running() as session:
        await session.on("thermometer")
        await session.press("v")
        await session.shows("open it where you sit", "http://pi.local:8100", "copied")
        assert session.app.clipboard == "http://pi.local:8100"
        assert said(browser) == []


async def test_the_page_of_an_app_of_another_machine_is_opened_there(browser: Path) -> None:
    async with running(home_is_here=False) as session:
        await session.on("thermometer")
        await session.press("v")
        await session.until(lambda: said(browser), "the browser")
        assert said(browser)[0] == "http://pi.local:8100"


async def test_a_browser_that_cannot_be_started_leaves_the_address_in_the_clipboard(
    browser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER", "/bin/false")
    monkeypatch.setenv("PATH", str(browser.parent))
    async with running() as session:
        await session.on("thermometer")
        await session.press("v")
        await session.shows("no browser could be started", "http://pi.local:8100", "copied")
        assert session.app.clipboard == "http://pi.local:8100"


async def test_a_browser_that_stays_blocks_nobody(browser: Path) -> None:
    browser.with_name("browser.stays").write_text("60")
    async with running() as session:
        await session.on("thermometer")
        await session.press("v")
        await session.until(lambda: said(browser), "the browser")
        begun = time.monotonic()
        await session.press("l")
        await session.shows("line 1000")
        assert time.monotonic() - begun < 30
    # It outlives the interface; the test ends it.
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"BROWSER={browser}".encode() in path.read_bytes() and path.parent.name != str(os.getpid()):
                os.kill(int(path.parent.name), 9)
        except OSError:
            continue


async def test_what_does_not_run_is_not_visited(browser: Path) -> None:
    async with running() as session:
        await session.on("garden")
        await session.press("v")
        await session.shows("Garden is stopped", "nobody answers at")
        await session.on("new-app")
        await session.press("v")
        await session.shows("New App has no address")
        await asyncio.sleep(0.3)
        assert said(browser) == []


@pytest.mark.parametrize(
    "path",
    ["@evil.example/", ".evil.example/", "/a b", "/\x1b]52;c;AAAA\x07", "/" + "x" * 400, "9/", ":1/", "/ü", "\\@evil"],
)
def test_no_path_of_a_manifest_leads_elsewhere(path: str) -> None:
    app = records.app_of(fake.app("garden", manifest={"endpoints": {"ui": path}}))
    assert address_of_page(app, "pi.local") is None


def test_a_path_of_the_app_stays(browser: Path) -> None:
    app = records.app_of(fake.app("garden", manifest={"endpoints": {"ui": "/@home/?view=day#now"}}))
    assert address_of_page(app, "Pi.local") == "http://Pi.local:8100/@home/?view=day#now"
    assert address_of_page(app, "fe80::5") == "http://[fe80::5]:8100/@home/?view=day#now"
    assert address_of_page(records.app_of(fake.app("x", assigned_port=None)), "pi") is None


async def test_an_address_reaches_the_browser_as_one_word(browser: Path) -> None:
    assert await opened("http://localhost:8100/$(id)?a=1&b='2'")
    assert said(browser)[0] == "http://localhost:8100/$(id)?a=1&b='2'"


def test_a_display_counts_only_before_the_users_eyes() -> None:
    assert has_display({"DISPLAY": ":0"}) and has_display({"WAYLAND_DISPLAY": "wayland-0"})
    assert not has_display({"DISPLAY": ":10.0", "SSH_CONNECTION": "a 1 b 22"})
    assert not has_display({"DISPLAY": ":10.0", "SSH_TTY": "/dev/pts/3"})
    assert not has_display({"DISPLAY": ""}) and not has_display({})
