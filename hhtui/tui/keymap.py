"""Every key of the interface, once: bindings, footer, help and palette are made from this list."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from textual.binding import Binding
from textual.keys import KEY_NAME_REPLACEMENTS, Keys

from hhtui.storage import read_json_object
from hhtui.text import sanitise


class Place(StrEnum):
    """Where a key works; the value is the heading in the help."""

    EVERYWHERE = "Everywhere"
    DASHBOARD = "Dashboard"
    APPS = "Apps"
    LOG = "Logs"
    EVENTS = "Events"
    HARDWARE = "Hardware"
    APP_PAGE = "App page"
    APP_SETTINGS = "App settings"
    VIEWER = "Log viewer"
    DETAILS = "Event details"
    SYSTEM = "System"
    PROCESSES = "Processes"
    CONFIG = "Configuration"
    CONFIG_DIFF = "Configuration changes"
    HOSTS = "Machines"
    GATEWAY = "The gateway"
    FIRST_RUN = "First steps"
    ADD = "Add an app"
    JOB = "An app's job"
    JOBS = "Jobs"
    UPDATES = "Newer versions"
    CATALOGS = "Catalogues"
    SECRETS = "Secrets"
    HELP = "Help"


class Key(NamedTuple):
    """One action. ``keys`` as Textual names them, comma-separated; ``footer`` is its word in the bottom line.

    ``writes``: it changes something, so it is off in read-only mode. ``palette``: it is offered in the palette.
    """

    id: str
    place: Place
    keys: str
    action: str
    help: str
    footer: str = ""
    writes: bool = False
    palette: bool = False
    priority: bool = False


KEYS: tuple[Key, ...] = (
    Key("app.help", Place.EVERYWHERE, "question_mark,f1", "app.help", "This help", "help", palette=True),
    Key("app.palette", Place.EVERYWHERE, "colon,ctrl+p", "app.command_palette", "Command palette", "palette"),
    Key("app.quit", Place.EVERYWHERE, "q,ctrl+q", "app.quit_asking", "Quit; apps keep running unless you say otherwise",
        "quit", palette=True),
    Key("app.interrupt", Place.EVERYWHERE, "ctrl+c", "app.interrupt", "Copy the selection, else quit", priority=True),
    Key("app.theme", Place.EVERYWHERE, "f2", "app.next_theme", "Next theme", palette=True),
    Key("app.undo", Place.EVERYWHERE, "u", "app.undo", "Undo the last start, stop, autostart or removal",
        "", True, True),
    Key("app.engine_log", Place.EVERYWHERE, "L", "app.engine_log", "The engine's own log", palette=True),
    Key("app.system", Place.EVERYWHERE, "M", "app.system", "The machine: history, processes, Redis, engine, alerts",
        "machine", palette=True),
    Key("app.config", Place.EVERYWHERE, "C", "app.config", "The configuration: see it, change it, go back",
        "config", palette=True),
    Key("app.hosts", Place.EVERYWHERE, "f4", "app.hosts", "Machines: switch to a home elsewhere", palette=True),
    Key("app.gateway", Place.EVERYWHERE, "f9", "app.gateway", "The gateway: apps by their names", palette=True),
    Key("app.first_steps", Place.EVERYWHERE, "f3", "app.first_steps", "First steps: where to put an app, make one",
        palette=True),
    Key("app.dismiss", Place.EVERYWHERE, "D", "app.dismiss", "Hide the problems that the first lines show",
        palette=True),
    Key("app.jobs", Place.EVERYWHERE, "f5", "app.jobs", "Jobs: apps that are added, updated, removed now; cancel one",
        palette=True),
    Key("app.trash", Place.EVERYWHERE, "f6", "app.trash", "The trash: removed apps, and bringing one back",
        writes=True, palette=True),
    Key("app.secrets", Place.EVERYWHERE, "K,f7", "app.secrets", "Secrets: which are set, who uses them; set one",
        palette=True),
    Key("app.catalogs", Place.EVERYWHERE, "f8", "app.catalogs", "Catalogues: add, update and remove them",
        palette=True),
    Key("app.updates", Place.EVERYWHERE, "ctrl+u", "app.updates", "Newer versions of all apps: look, update one or all",
        palette=True),
    Key("app.redraw", Place.EVERYWHERE, "ctrl+l", "app.redraw", "Draw the screen anew", palette=True),
    Key("app.suspend", Place.EVERYWHERE, "ctrl+z", "app.suspend_process", "Suspend; fg brings it back"),
    # The dashboard
    Key("panel.apps", Place.DASHBOARD, "1", "panel('apps')", "Apps panel", palette=True),
    Key("panel.hardware", Place.DASHBOARD, "2", "panel('hardware')", "Hardware panel", palette=True),
    Key("panel.log", Place.DASHBOARD, "3", "panel('log')", "Log panel", palette=True),
    Key("panel.events", Place.DASHBOARD, "4,e", "panel('events')", "Event stream panel", "events", palette=True),
    Key("panel.next", Place.DASHBOARD, "tab", "next_panel(1)", "Next panel"),
    Key("panel.previous", Place.DASHBOARD, "shift+tab", "next_panel(-1)", "Previous panel"),
    Key("app.add", Place.DASHBOARD, "plus", "app.add_app", "Add an app: from a catalogue, a URL, a folder", "add", True,
        True),
    Key("panel.zoom", Place.DASHBOARD, "z", "zoom", "Panel over the whole screen, and back", "zoom", palette=True),
    Key("panel.hide", Place.DASHBOARD, "H", "hide", "Hide this panel; on the apps: show all hidden ones", palette=True),
    Key("panel.filter", Place.DASHBOARD, "slash", "filter", "Filter apps or events; search in logs", "filter"),
    Key("panel.escape", Place.DASHBOARD, "escape", "back", "Drop filter, selection, zoom"),
    # An app, wherever one is chosen
    Key("app.open", Place.APPS, "enter", "open_app", "The app's page: why it is in this state", "page", palette=True),
    Key("app.start", Place.APPS, "s", "command('start')", "Start", "start", True, True),
    Key("app.stop", Place.APPS, "x,S", "command('stop')", "Stop", "stop", True, True),
    Key("app.restart", Place.APPS, "r", "command('restart')", "Restart", "restart", True, True),
    Key("app.install", Place.APPS, "i", "command('install')", "Install (again)", "install", True, True),
    Key("app.enable", Place.APPS, "a", "autostart", "Autostart on or off", "", True, True),
    Key("app.reset", Place.APPS, "R", "command('reset')", "Forget its failures, so that it may start again",
        "", True, True),
    Key("app.remove", Place.APPS, "delete,X", "remove", "Remove it; shows what will go first", "", True, True),
    Key("app.settings", Place.APPS, "E", "open_settings", "Settings: the author's values, yours, and the app's secrets",
        palette=True),
    Key("app.logs", Place.APPS, "l", "open_logs", "The app's logs on a screen of their own", "logs", palette=True),
    Key("app.visit", Place.APPS, "v", "visit", "Open the app's page in a browser; over SSH its address is copied",
        "visit", palette=True),
    Key("app.copy_url", Place.APPS, "y", "copy_url", "Copy the app's address", palette=True),
    Key("app.update", Place.APPS, "U", "update",
        "Update, after a yes to what is new; of several selected: what is new of each", "", True, True),
    Key("app.roll_back", Place.APPS, "B", "roll_back", "Go back to an earlier version", "", True, True),
    Key("app.move", Place.APPS, "W", "move", "Move it to another machine; shows what moves first", "", True, True),
    Key("apps.mark", Place.APPS, "space", "mark", "Select or unselect; keys then act on all selected", "select"),
    Key("apps.mark_all", Place.APPS, "ctrl+a", "mark_all", "Select all shown, or none"),
    Key("apps.sort", Place.APPS, "o", "sort", "Sort by name, state, CPU, memory, uptime, restarts, port", palette=True),
    Key("apps.reverse", Place.APPS, "O", "reverse", "Sort the other way round", palette=True),
    Key("apps.group", Place.APPS, "T", "group", "Group by state, type, the manifests' groups, or not", palette=True),
    Key("apps.fold", Place.APPS, "minus,left,right", "fold", "Hide or show the apps of a group"),
    # Logs
    Key("log.older", Place.LOG, "left_square_bracket", "older", "A page towards older lines", "older"),
    Key("log.newer", Place.LOG, "right_square_bracket", "newer", "A page towards newer lines", "newer"),
    Key("log.follow", Place.LOG, "f", "follow", "Follow new lines; scrolling up pauses", "follow"),
    Key("log.file", Place.LOG, "o", "next_file", "Next file: app, error, access, setup, …", "file"),
    Key("log.goto", Place.LOG, "g", "goto_page",
        "Go to a page (1 is the newest) or a time: 14:30, -10m, 2026-11-24 14:30", "go to"),
    Key("log.search", Place.LOG, "slash", "search",
        "Search words from here on towards older lines, in upper and lower case alike", "search"),
    Key("log.expression", Place.LOG, "backslash", "search_expression",
        "Search a regular expression; case counts unless it begins with (?i)", "regex"),
    Key("log.next", Place.LOG, "n", "match(1)", "Next match, towards older lines"),
    Key("log.previous", Place.LOG, "N", "match(-1)", "Next match, towards newer lines"),
    Key("log.only", Place.LOG, "ampersand", "only", "Only the lines that match, or all again", "filter"),
    Key("log.more", Place.LOG, "plus", "context(1)", "A line more around each match"),
    Key("log.fewer", Place.LOG, "minus", "context(-1)", "A line less around each match"),
    Key("log.merged", Place.LOG, "b", "merged", "Output, errors and visits as one by time, or apart again", "merge"),
    Key("log.wrap", Place.LOG, "w", "wrap", "Wrap long lines, or cut them"),
    Key("log.time", Place.LOG, "t", "times", "Times: hour, date, none"),
    Key("log.left", Place.LOG, "left,h", "sideways(-1)", "Scroll left"),
    Key("log.right", Place.LOG, "right", "sideways(1)", "Scroll right"),
    Key("log.open", Place.LOG, "enter,l", "open_viewer", "On a screen of its own", "open"),
    # Events
    Key("events.pause", Place.EVENTS, "space", "pause", "Pause or go on", "pause"),
    Key("events.open", Place.EVENTS, "enter", "open_event", "The whole event with its data", "details"),
    Key("events.app", Place.EVENTS, "f", "only('app')", "Only events of this app; again: all", "its app"),
    Key("events.type", Place.EVENTS, "t", "only('type')", "Only events of this type; again: all", "its type"),
    Key("events.action", Place.EVENTS, "w", "only('id')", "Only what the same action caused, in order; again: all",
        "its action"),
    Key("events.page", Place.EVENTS, "o", "open_its_app", "The page of the event's app", "page"),
    Key("events.log", Place.EVENTS, "l", "open_its_log", "The log of the event's app at the event's time", "log"),
    Key("events.clear", Place.EVENTS, "c", "clear", "Clear the list"),
    # Screens
    Key("page.close", Place.APP_PAGE, "escape,backspace,left", "close", "Back", "back"),
    Key("page.filter", Place.APP_PAGE, "slash", "filter", "Filter the timeline: words, app: type: channel: id:",
        "filter"),
    Key("page.setup", Place.APP_PAGE, "p", "setup_log", "What installing printed (setup.log)"),
    Key("page.json", Place.APP_PAGE, "m", "manifest", "Show or hide the manifest", "manifest"),
    Key("settings.edit", Place.APP_SETTINGS, "enter,e", "edit", "Type another value; it holds at once", "edit", True),
    Key("settings.unset", Place.APP_SETTINGS, "x,delete", "unset", "Go back to what its author says", "unset", True),
    Key("settings.none", Place.APP_SETTINGS, "n", "no_value", "No value, whatever its author says", "none", True),
    Key("settings.restart", Place.APP_SETTINGS, "r", "command('restart')", "Restart the app", "restart", True),
    Key("settings.close", Place.APP_SETTINGS, "escape,backspace,left", "close", "Back", "back"),
    Key("viewer.line", Place.VIEWER, "enter", "open_line", "The whole line; JSON indented", "line"),
    Key("viewer.select", Place.VIEWER, "v", "select", "Select from this line on, or nothing", "select"),
    Key("viewer.copy", Place.VIEWER, "y", "copy", "Copy the selection, else the line", "copy"),
    Key("viewer.save", Place.VIEWER, "ctrl+s", "save",
        "Save the selection, else all matching lines, else the whole log", "save"),
    Key("viewer.close", Place.VIEWER, "escape,backspace", "close", "Back", "back"),
    Key("details.close", Place.DETAILS, "escape,enter,backspace,left,q", "close", "Back", "back"),
    Key("details.next", Place.DETAILS, "n,right", "step(1)", "The next event of the list, towards newer ones", "next"),
    Key("details.previous", Place.DETAILS, "p", "step(-1)", "The previous event, towards older ones", "previous"),
    Key("details.copy", Place.DETAILS, "y", "copy", "Copy", "copy"),
    Key("system.close", Place.SYSTEM, "escape,backspace", "close", "Back", "back"),
    Key("system.span", Place.SYSTEM, "t", "span", "Span of the graphs: 10 minutes, 1 hour, 1 day", "span"),
    Key("system.history", Place.SYSTEM, "1", "system_panel('history')", "History graphs"),
    Key("system.processes", Place.SYSTEM, "2", "system_panel('processes')", "Processes", "processes"),
    Key("system.facts", Place.SYSTEM, "3", "system_panel('system-facts')", "Engine, Redis, alerts", "engine"),
    Key("system.next", Place.SYSTEM, "tab", "next_system_panel(1)", "Next panel"),
    Key("system.previous", Place.SYSTEM, "shift+tab", "next_system_panel(-1)", "Previous panel"),
    Key("system.zoom", Place.SYSTEM, "z", "zoom_system", "Panel over the whole screen, and back", "zoom"),
    Key("processes.sort", Place.PROCESSES, "o", "sort_processes", "Sort by CPU or memory", "sort"),
    Key("processes.open", Place.PROCESSES, "enter", "open_process", "The app that the process belongs to", "app"),
    Key("config.close", Place.CONFIG, "escape,backspace", "close", "Drop the filter, or back", "back"),
    Key("config.edit", Place.CONFIG, "enter,e", "edit", "Type another value; empty: back to the default",
        "edit", True),
    Key("config.undo", Place.CONFIG, "u", "undo", "Forget the pending edit of this key", "undo", True),
    Key("config.save", Place.CONFIG, "s,ctrl+s", "save", "Save all pending edits; shows the changes first",
        "save", True),
    Key("config.restore", Place.CONFIG, "b", "restore", "Go back to the backup; shows the changes first", "backup",
        True),
    Key("config.filter", Place.CONFIG, "slash", "filter", "Filter keys by name, value and help", "filter"),
    Key("config.reload", Place.CONFIG, "R", "reload_engine", "Reload the engine, so that it reads all keys anew",
        "reload", True),
    Key("diff.take", Place.CONFIG_DIFF, "y", "take", "Yes, do it", "yes", True),
    Key("diff.close", Place.CONFIG_DIFF, "escape,n,backspace", "close", "No, leave everything as it is", "no"),
    Key("first.service", Place.FIRST_RUN, "s", "make('service')", "Make a starter service", "service", True),
    Key("first.streamlit", Place.FIRST_RUN, "w", "make('streamlit')", "Make a starter Streamlit app",
        "Streamlit", True),
    Key("first.example", Place.FIRST_RUN, "e", "example", "Copy an example app", "example", True),
    Key("first.add", Place.FIRST_RUN, "plus", "app.add_app", "Add an app: from a catalogue, a URL, a folder", "add",
        True),
    Key("first.close", Place.FIRST_RUN, "escape,backspace,enter", "close", "To the dashboard", "dashboard"),
    Key("add.look", Place.ADD, "enter", "look_at", "Fetch it and show what it is, before anything is added", "look"),
    Key("add.search", Place.ADD, "slash", "search", "Search: words that all have to be there", "search"),
    Key("add.url", Place.ADD, "plus,a", "type_url", "Type or paste a URL, a folder or an archive", "URL", True),
    Key("add.catalogs", Place.ADD, "c", "app.catalogs", "The catalogues that these are from", "catalogues"),
    Key("add.key", Place.ADD, "s", "app.ssh_key", "The engine's own ssh key, for private repositories", "ssh key",
        palette=True),
    Key("add.close", Place.ADD, "escape,backspace,left", "close", "Back", "back"),
    Key("job.take", Place.JOB, "y", "take", "Yes, do it", "yes", True),
    Key("job.cancel", Place.JOB, "c,n", "cancel", "No, or break it off: nothing has changed then", "cancel", True),
    Key("job.close", Place.JOB, "escape,backspace", "close", "Back: what is done goes on, a question is answered no",
        "back"),
    Key("job.ref", Place.JOB, "t", "ref", "Another tag, branch or commit instead", "version", True),
    Key("job.name", Place.JOB, "i", "name", "What the app is to be called here", "name", True),
    Key("job.origin", Place.JOB, "f", "origin", "Update from somewhere else instead, from now on", "from", True),
    Key("job.discard", Place.JOB, "d", "discard", "Give up what was changed in the author's files, and update", "",
        True),
    Key("job.key", Place.JOB, "s", "app.ssh_key", "The engine's own ssh key, for private repositories"),
    Key("jobs.open", Place.JOBS, "enter", "open", "Show it, and answer what it asks", "show"),
    Key("jobs.cancel", Place.JOBS, "c,delete", "cancel", "Break it off: nothing has changed then", "cancel", True),
    Key("jobs.close", Place.JOBS, "escape,f5,backspace,left", "close", "Back", "back"),
    Key("updates.open", Place.UPDATES, "enter,U", "open", "Show all that is new of it, and update after a yes",
        "update", True),
    Key("updates.all", Place.UPDATES, "a", "all", "Update all that are listed, after a yes", "all", True),
    Key("updates.look", Place.UPDATES, "r", "look", "Ask their servers anew", "look"),
    Key("updates.close", Place.UPDATES, "escape,backspace,left", "close", "Back", "back"),
    Key("catalogs.open", Place.CATALOGS, "enter", "open", "Its apps", "apps"),
    Key("catalogs.add", Place.CATALOGS, "plus,a", "add", "Add one: type or paste a URL", "add", True),
    Key("catalogs.look", Place.CATALOGS, "r", "look", "Look at it anew", "update", True),
    Key("catalogs.look_all", Place.CATALOGS, "R", "look_all", "Look at all of them anew", "all", True),
    Key("catalogs.remove", Place.CATALOGS, "x,delete", "forget", "Forget it; apps that came from it stay", "remove",
        True),
    Key("catalogs.close", Place.CATALOGS, "escape,f8,backspace,left", "close", "Back", "back"),
    Key("secrets.set", Place.SECRETS, "enter,e", "open", "Set it; only dots are seen of what is typed", "set", True),
    Key("secrets.add", Place.SECRETS, "plus,a", "add", "Set one that no app asks for yet", "new", True),
    Key("secrets.remove", Place.SECRETS, "x,delete", "forget", "Remove it; says which apps use it first", "remove",
        True),
    Key("secrets.close", Place.SECRETS, "escape,K,f7,backspace,left", "close", "Back", "back"),
    Key("hosts.switch", Place.HOSTS, "enter", "switch", "Show this machine's home instead", "switch"),
    Key("hosts.add", Place.HOSTS, "a", "add", "Put a machine into the list", "add"),
    Key("hosts.remove", Place.HOSTS, "delete,x", "remove", "Take it off the list", "remove"),
    Key("hosts.look", Place.HOSTS, "r", "look", "Look at all of them anew", "look"),
    Key("hosts.close", Place.HOSTS, "escape,f4,backspace,left,q", "close", "Back", "back"),
    Key("gateway.switch", Place.GATEWAY, "o", "switch", "Turn the gateway on or off", "on/off", True),
    Key("gateway.password", Place.GATEWAY, "p", "password", "Set the password that visitors are asked for", "password",
        True),
    Key("gateway.no_password", Place.GATEWAY, "x,delete", "no_password", "Ask visitors for no password any more",
        "no password", True),
    Key("gateway.tls", Place.GATEWAY, "t", "tls", "TLS by certificates of its own, or none", "TLS", True),
    Key("gateway.copy", Place.GATEWAY, "y", "copy", "Copy the address of the app under the cursor", "copy"),
    Key("gateway.close", Place.GATEWAY, "escape,f9,backspace,left", "close", "Back", "back"),
    Key("help.close", Place.HELP, "escape,question_mark,f1,q,backspace,left,enter", "close", "Back", "back"),
)  # fmt: skip

# Keys that every list of lines has; they move and need no id of their own in the footer.
MOVES: tuple[Key, ...] = (
    Key("move.up", Place.EVERYWHERE, "up,k", "move(-1)", "Up a line"),
    Key("move.down", Place.EVERYWHERE, "down,j", "move(1)", "Down a line"),
    Key("move.page_up", Place.EVERYWHERE, "pageup,ctrl+b", "page(-1)", "Up a screenful"),
    Key("move.page_down", Place.EVERYWHERE, "pagedown,ctrl+f", "page(1)", "Down a screenful"),
    Key("move.home", Place.EVERYWHERE, "home", "edge(-1)", "First line"),
    Key("move.end", Place.EVERYWHERE, "end,G", "edge(1)", "Last line"),
)

BY_ID = {key.id: key for key in (*KEYS, *MOVES)}

_NAMES = {
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "backslash": "\\",
    "ampersand": "&",
    "plus": "+",
    "minus": "-",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "space": "Space",
    "enter": "Enter",
    "escape": "Esc",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "up": "Up",
    "down": "Down",
    "left": "Left",
    "right": "Right",
    "home": "Home",
    "end": "End",
    "tab": "Tab",
    "backspace": "Backspace",
}


def bindings(*places: Place, only: Iterable[str] | None = None) -> list[Binding]:
    """Textual's bindings of these places; with ``only``, those whose id is among them."""
    wanted = None if only is None else frozenset(only)
    return [_binding(key) for key in KEYS if key.place in places and (wanted is None or key.id in wanted)]


def move_bindings() -> list[Binding]:
    """The bindings of a list of lines."""
    return [_binding(key) for key in MOVES]


def _binding(key: Key) -> Binding:
    return Binding(key.keys, key.action, key.help, show=False, priority=key.priority, id=key.id)


def shown(key: str) -> str:
    """A key as people know it: ``question_mark`` → ``?``, ``ctrl+p`` → ``Ctrl+P``."""
    *modifiers, last = key.strip().split("+")
    name = _NAMES.get(last) or (last.upper() if modifiers or (last[:1] == "f" and last[1:].isdigit()) else last)
    return "+".join([*(modifier.capitalize() for modifier in modifiers), name])


def keys_of(key: Key, changed: Mapping[str, str]) -> list[str]:
    """The keys of an action as shown, after the user's own keymap."""
    return [shown(part) for part in changed.get(key.id, key.keys).split(",")]


_LARGEST = 64 * 1024
_MODIFIERS = frozenset({"ctrl", "shift", "alt", "super", "hyper", "meta"})
_NAMED = frozenset(name.split("+")[-1] for name in (key.value for key in Keys)) | set(KEY_NAME_REPLACEMENTS.values())
# Places whose keys work at the same time, besides those of one place: the dashboard has the apps in it.
_TOGETHER = frozenset({Place.DASHBOARD, Place.APPS})


def read_changes(path: Path) -> tuple[dict[str, str], str]:
    """What the keymap at ``path`` changes (binding id to keys), and what is wrong with it in one line, or "".

    What is wrong is left out, but for two actions on one key: there the changed one has it.
    """
    try:
        found = read_json_object(path, _LARGEST)
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError, RecursionError) as error:
        return {}, f"{getattr(error, 'strerror', None) or error}; the usual keys are used"
    changes: dict[str, str] = {}
    problems: list[str] = []
    for name, keys in found.items():
        if name not in BY_ID:
            problems.append(f"no action is called {sanitise(name, 40)}: the names are in the palette")
        elif not isinstance(keys, str) or not keys.strip():
            problems.append(f'{name} needs keys as a text, such as "d" or "f5,ctrl+x"')
        else:
            parts = [(part, key_named(part)) for part in _parts(keys)]
            problems += [f"no key is called {sanitise(part, 40)} ({name})" for part, key in parts if key is None]
            if known := [key for _, key in parts if key is not None]:
                changes[name] = ",".join(known)
    problems += conflicts(changes)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return changes, problems[0] + more if problems else ""


def _key_of(character: str) -> str:
    """Textual's name of the key that types ``character``: letters and digits are their own, others have Unicode's."""
    if character.isalnum():
        return character
    name = unicodedata.name(character, character).lower().replace("-", "_").replace(" ", "_")
    return KEY_NAME_REPLACEMENTS.get(name, name)


def key_named(text: str) -> str | None:
    """A key as Textual calls it, from ``Ctrl+X``, ``?`` or ``question_mark``; None if there is none such."""
    text = text.strip()
    if len(text) == 1:
        return _key_of(text) if text.isprintable() and text != " " else None
    *modifiers, last = text.split("+")
    if text.endswith("++"):
        modifiers, last = text[:-2].split("+"), "+"
    modifiers = [modifier.casefold() for modifier in modifiers]
    if not last or not set(modifiers) <= _MODIFIERS:
        return None
    if len(last) == 1:
        last = _key_of(last.lower() if "ctrl" in modifiers else last)
    elif last.casefold() in _NAMED or _is_character(last):
        last = last.casefold()
    else:
        return None
    return "+".join([*modifiers, last])


def conflicts(changes: Mapping[str, str]) -> Iterator[str]:
    """One line for each key that a changed action shares with another one that works in the same place."""
    for name, keys in changes.items():
        mine = BY_ID[name]
        for other in BY_ID.values():
            both_changed_and_reported = other.id in changes and other.id < name
            if other.id == name or both_changed_and_reported or not _meet(mine, other):
                continue
            theirs = changes.get(other.id, other.keys).split(",")
            for key in keys.split(","):
                if key in theirs and not (key in mine.keys.split(",") and key in other.keys.split(",")):
                    yield f"{shown(key)} is both {name} and {other.id}: give one of them another key"


def _meet(one: Key, other: Key) -> bool:
    places = {one.place, other.place}
    return len(places) == 1 or Place.EVERYWHERE in places or places <= _TOGETHER


def _parts(keys: str) -> list[str]:
    # A comma is a key, too: alone, or doubled.
    return ["," if part == "\0" else part for part in keys.replace(",,", "\0").split(",")] if keys != "," else [","]


def _is_character(name: str) -> bool:
    try:
        unicodedata.lookup(name.replace("_", " "))
    except KeyError:
        return False
    return True
