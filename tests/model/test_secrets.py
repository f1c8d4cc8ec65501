"""config/secrets.env: values come back as they were given, and nothing else of the file changes."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dotenv import dotenv_values

from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.secrets import change_secrets, read_secrets, secrets_listed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "secrets.env"


VALUES = [
    "plain",
    'it\'s "quoted"',
    "$HOME ${OTHER} $$ `ls`",
    "a # b",
    "#first",
    " blanks around ",
    "-----BEGIN KEY-----\nAbC+/=\n\n-----END KEY-----\n",
    "ends with \\",
    "\\' and \\\" and \\n and \\\\",
    "windows\r\nlines\r\n",
    "x'  # set 2020-01-01T00:00:00Z for door",
    "überall 日本 \u202e",
    "=",
    "x" * 60_000,
]


def test_whatever_is_set_comes_back_alone_and_beside_all_others(path: Path) -> None:
    for number, value in enumerate(VALUES):
        assert change_secrets(path, {f"NAME_{number}": value}) == [f"NAME_{number}"]
        assert read_secrets(path)[f"NAME_{number}"].value == value
    whole = {f"NAME_{number}": value for number, value in enumerate(VALUES)}
    assert {name: secret.value for name, secret in read_secrets(path).items()} == whole
    with path.open(newline="") as file:
        assert dict(dotenv_values(stream=file, interpolate=False)) == whole, "other programs read the same"
    assert all(secret.since and secret.app_id is None for secret in read_secrets(path).values())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


WRITTEN = """# My keys
export FIRST=one  # from the router

SECOND="two
lines"   # of the cloud # account
# THIRD=old
BARE
THIRD=3#not a comment
FIRST='again'
"""


def test_comments_the_order_and_every_other_line_stay(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(WRITTEN)
    path.chmod(0o600)
    change_secrets(path, {"SECOND": "new", "FOURTH": "4"})
    lines = path.read_text().splitlines()
    assert lines[:4] == ["# My keys", "export FIRST=one  # from the router", "", lines[3]]
    assert lines[3].startswith("SECOND='new'   # of the cloud # account  # set 20")
    assert lines[4:8] == ["# THIRD=old", "BARE", "THIRD=3#not a comment", "FIRST='again'"]
    assert lines[8].startswith("FOURTH='4'  # set 20") and len(lines) == 9
    change_secrets(path, {"SECOND": "newer", "FIRST": "1"})
    assert path.read_text().count("# set 20") == 3, "one mark a line, and one line a name"
    assert read_secrets(path)["FIRST"].value == "1"
    change_secrets(path, {"FIRST": None, "SECOND": None, "FOURTH": None})
    assert path.read_text() == "# My keys\n\n# THIRD=old\nBARE\nTHIRD=3#not a comment\n"


def test_what_is_the_same_already_is_no_change(path: Path) -> None:
    change_secrets(path, {"TOKEN": "x"})
    before = path.read_bytes()
    assert change_secrets(path, {"TOKEN": "x", "NONE": None}) == []
    assert path.read_bytes() == before


def test_a_setting_of_an_app_stays_that_apps_when_its_value_changes(path: Path) -> None:
    change_secrets(path, {"LAMP__KEY": "a"}, app_id="lamp")
    change_secrets(path, {"LAMP__KEY": "b"})
    secret = read_secrets(path)["LAMP__KEY"]
    assert (secret.value, secret.app_id) == ("b", "lamp")
    listed = secrets_listed(read_secrets(path), {"lamp": ["LAMP__KEY"], "door": ["LAMP__KEY", "OTHER"]})
    assert [(info.name, info.is_set, info.apps) for info in listed] == [
        ("LAMP__KEY", True, ["lamp"]),
        ("OTHER", False, ["door"]),
    ]


@pytest.mark.parametrize("name", ["", "A-B", "1A", "A B", "A=hunter2", "A\n", "ä", "x" * 300])
def test_a_name_that_can_be_no_variables_is_refused_without_what_may_be_its_value(path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        change_secrets(path, {name: "value"})
    assert "hunter2" not in caught.value.message and "\n" not in caught.value.message
    assert not path.exists()


@pytest.mark.parametrize("value", ["", "a\0b", "half \ud800", "x" * 70_000])
def test_a_value_that_can_be_no_variables_is_refused_without_repeating_it(path: Path, value: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        change_secrets(path, {"TOKEN": value})
    assert caught.value.message.startswith("TOKEN: ") and len(caught.value.message) < 120
    assert not path.exists()


def test_a_line_that_would_swallow_a_new_one_is_named_and_nothing_is_written(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("GOOD=1\nBAD='no end\n")
    path.chmod(0o600)
    with pytest.raises(InvalidInputError, match="line 2"):
        change_secrets(path, {"TOKEN": "it's"})
    assert path.read_text() == "GOOD=1\nBAD='no end\n"


def test_the_file_is_nobody_elses_and_a_link_is_written_through(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    real = tmp_path / "elsewhere.env"
    real.write_text("A=1\n")
    real.chmod(0o664)
    path.symlink_to(real)
    assert read_secrets(path)["A"].value == "1"
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    change_secrets(path, {"B": "2"})
    assert path.is_symlink() and set(read_secrets(real)) == {"A", "B"}


def test_what_others_may_read_and_cannot_be_protected_is_not_used(path: Path) -> None:
    path.parent.mkdir()
    # proc(5): its mode is 0444, and that nobody may change.
    path.symlink_to("/proc/self/status")
    with pytest.raises(InvalidInputError, match="chmod 600"):
        read_secrets(path)
    os.unlink(path)
    path.mkdir()
    with pytest.raises(InvalidInputError, match="is no file"):
        read_secrets(path)


def test_a_disk_that_takes_nothing_leaves_the_file_as_it_was(path: Path) -> None:
    change_secrets(path, {"TOKEN": "x"})
    before = path.read_bytes()
    path.with_name(f".{path.name}.{os.getpid()}.tmp").mkdir()
    with pytest.raises(HomeHelperError, match=r"config/secrets\.env cannot be written"):
        change_secrets(path, {"TOKEN": "y"})
    assert path.read_bytes() == before


def test_none_is_lost_of_those_that_many_commands_set_at_once(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    names = [f"NAME_{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as commands:
        list(commands.map(lambda name: change_secrets(path, {name: "value"}), names))
    assert sorted(read_secrets(path)) == sorted(names)
