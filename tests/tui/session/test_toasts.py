"""Toasts that run out at any moment, also while they are being made: the interface goes on."""

from __future__ import annotations

import time

import pytest
from textual import notifications

from hhtui.tui.session.interface import Interface
from tests.engine.homes import until


class Plain(Interface, inherit_bindings=False):
    """``x`` is counted."""

    taken = 0

    def key_x(self) -> None:
        self.taken += 1


# Textual looks at the clock several times from a notification to its toast.
@pytest.mark.timeout(20)
@pytest.mark.parametrize("looks", range(5))
async def test_a_toast_that_runs_out_while_it_is_made_holds_nothing_up(
    looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Plain()
    left = looks

    def clock() -> float:
        nonlocal left
        left -= 1
        return time.time() + (100 if left < 0 else 0)

    began = time.monotonic()
    async with app.run_test(notifications=True) as pilot:
        monkeypatch.setattr(notifications, "time", clock)
        app.notify("soon over")
        await until(lambda: left < 0)
        await pilot.press("x")
        await until(lambda: app.taken)
    assert time.monotonic() - began < 15  # a loop without an end is broken by the limit above
