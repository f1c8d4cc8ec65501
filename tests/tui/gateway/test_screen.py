"""The gateway's screen: what is open, the names, and each of its keys."""

from __future__ import annotations

from tests.tui.screen import running


async def test_the_screen_says_what_is_open_and_each_apps_address() -> None:
    async with running() as session:
        await session.press("f9")
        await session.shows("http://thermometer.local/", "port 80, on all addresses (192.168.1.5)", "8443 is used")
        assert "port 8100 passes the login" in session.line("thermometer")
        assert "not running" in session.line("garden")
        await session.press("escape")
        await session.shows("1 Apps")


async def test_it_is_turned_off_and_on_and_tls_with_it() -> None:
    async with running() as session:
        await session.press("f9")
        await session.shows("the gateway is on")
        await session.press("o")
        await session.shows("the gateway is off")
        await session.press("o")
        await session.shows("the gateway is on")
        await session.press("t")
        await session.shows("TLS: certificates of its own")
        assert session.transport.patches == [
            {"enabled": False},
            {"enabled": True},
            {"enabled": True, "tls": "internal"},
        ]


async def test_a_password_is_typed_unseen_and_one_that_is_too_short_is_refused() -> None:
    async with running() as session:
        await session.press("f9")
        await session.shows("login: none")
        await session.press("p", *"short", "enter")
        await session.shows("8 to 1000")
        await session.press("p", *"long enough")
        assert "long enough" not in session.text
        await session.press("enter")
        await session.shows("login: visitors are asked")
        await session.press("x")
        await session.shows("login: none")


async def test_an_interface_that_only_watches_changes_nothing() -> None:
    async with running(read_only=True) as session:
        await session.press("f9")
        await session.shows("the gateway is on")
        await session.press("o", "t", "x")
        await session.shows("only watches")
        assert session.transport.patches == [] and session.transport.gateway_status["state"] == "up"
