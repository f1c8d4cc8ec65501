"""Why an app has no log of a name, as a person understands it, and what to do."""

from __future__ import annotations

from hhtui.client.records import App
from hhtui.client.words import name_of
from hhtui.model.states import Status
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.session.interface import Interface

_RUNS = (Status.RUNNING, Status.STARTING, Status.STOPPING)


def no_log_words(hh: Interface, app_id: str, file: str) -> str:
    """One sentence, safe to show."""
    app = hh.link.snapshot.apps.get(app_id)
    if app is None:
        return f"No log yet: nothing was written to {sanitise(file, 40)}.log."
    return f"No log yet: {_setup(hh, app) if file == 'setup' else _own(hh, app, file)}"


def _setup(hh: Interface, app: App) -> str:
    if app.status is Status.INSTALLING:
        return f"{name_of(app)} is being installed, and that has printed nothing so far."
    return f"{name_of(app)} was not installed{_offer(hh, 'app.install', 'installs')}."


def _own(hh: Interface, app: App, file: str) -> str:
    name = name_of(app)
    if file == "access":
        return f"nobody has visited the port of {name}."
    match app.status:
        case Status.INVALID:
            return f"{name} cannot run, its homehelper.json is wrong."
        case Status.INSTALLING:
            return f"{name} is being installed; its setup log shows how far that is."
        case Status.WAITING:
            return f"{name} sleeps until its first visit{_offer(hh, 'app.start', 'starts')}."
        case status if status in _RUNS:
            return f"{name} has written nothing so far."
        case Status.FAILED if app.exit is None:
            return f"{name} could not be made ready to run; its setup log may say more."
    return f"{name} has not run{_offer(hh, 'app.start', 'starts')}."


def _offer(hh: Interface, key: str, does: str) -> str:
    """What to press, unless nothing may be changed."""
    return "" if hh.read_only else f"; {keymap.keys_of(keymap.BY_ID[key], hh.changed_keys)[0]} {does} it"
