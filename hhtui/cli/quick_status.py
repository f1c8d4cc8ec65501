"""``hhtui status``, plainly spelt, at half the time: the command line's library is not loaded."""

from __future__ import annotations

from collections.abc import Sequence


def quick_status(arguments: Sequence[str]) -> int | None:
    """Carry out a plain ``status [APP]`` with ``--home``, ``--json`` and ``--quiet``; its exit code.

    None for anything else, help and mistakes included: that needs real parsing.
    """
    home_option: str | None = None
    json = quiet = False
    names: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in ("-q", "--quiet"):
            quiet = True
        elif word == "--json":
            json = True
        elif word == "--home":
            home_option = next(words, "")
        elif word.startswith("--home="):
            home_option = word.removeprefix("--home=")
        elif word.startswith("-"):
            return None
        else:
            names.append(word)
        if home_option is not None and (not home_option.strip() or "\0" in home_option):
            return None
    if names[:1] != ["status"] or len(names) > 2:
        return None
    from hhtui.cli.console import Console

    console = Console()
    console.json, console.quiet = json, quiet
    try:
        from hhtui.cli.status_view import show_status
        from hhtui.client.sync import EngineClient
        from hhtui.paths import Home, find_home

        home = Home.at(find_home(home_option))
        apps = str(home.default_apps_dir)
        show_status(console, apps, EngineClient(home.engine_socket), names[1] if len(names) == 2 else None)
    except (Exception, KeyboardInterrupt) as error:
        from hhtui.cli.endings import failed

        return failed(console, error)
    from hhtui.cli.endings import ended

    return ended(console, 0)
