"""What can be no app's id is an unknown app: exit 5, and nothing else is asked of the engine."""

from __future__ import annotations

import pytest

from hhtui.client import wire
from hhtui.errors import UnknownAppError
from hhtui.model.operations import APP


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "apps/lamp", "lamp/"])
def test_a_path_is_no_apps_name(name: str) -> None:
    with pytest.raises(UnknownAppError) as caught:
        wire.call(APP, name)
    assert caught.value.exit_code == 5


def test_any_other_name_becomes_one_part_of_the_path() -> None:
    assert wire.call(APP, "lamp-2").target == "/api/v1/apps/lamp-2"
    assert wire.call(APP, "a b?c#d\n\x1b").target == "/api/v1/apps/a%20b%3Fc%23d%0A%1B"
