"""``hhtui``, plainly spelt, some 30 ms sooner on the screen: the command line's library is not loaded."""

from __future__ import annotations

import gc
from collections.abc import Sequence


def quick_interface(arguments: Sequence[str]) -> int | None:
    """Show the interface for ``--home`` and ``--read-only`` alone; its exit code.

    None for anything else, mistakes and unfit terminals included: that needs real parsing and words.
    """
    home_option: str | None = None
    read_only = False
    words = iter(arguments)
    for word in words:
        if word == "--read-only":
            read_only = True
        elif word == "--home":
            home_option = next(words, "")
        elif word.startswith("--home="):
            home_option = word.removeprefix("--home=")
        else:
            return None
        if home_option is not None and (not home_option.strip() or "\0" in home_option):
            return None
    from hhtui.cli.console import Console
    from hhtui.cli.interface import run_interface, unfit
    from hhtui.paths import Home, find_home

    console = Console()
    if unfit(console):
        return None
    # Of what is loaded from here on hardly anything is garbage; the interface turns collecting on with its first paint.
    gc.disable()
    try:
        home = Home.at(find_home(home_option))
        return run_interface(home, console, in_process=False, read_only=read_only, plain=False)
    except (Exception, KeyboardInterrupt) as error:
        from hhtui.cli.endings import failed

        return failed(console, error)
