"""``hhtui`` and ``python -m hhtui``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit code (contract, section 7)."""
    try:
        if "--engine-only" in sys.argv:
            from hhtui.cli.engine_process import plain_engine_only, run_engine_only

            if plain := plain_engine_only(sys.argv[1:]):
                from hhtui.paths import find_home

                home, quiet = plain
                return run_engine_only(find_home(home), quiet=quiet)
        if "status" in sys.argv:
            from hhtui.cli.quick_status import quick_status

            if (code := quick_status(sys.argv[1:])) is not None:
                return code
        if all(word.startswith("-") for word in sys.argv[1:2]):
            from hhtui.cli.quick_interface import quick_interface

            if (code := quick_interface(sys.argv[1:])) is not None:
                return code
        from hhtui.cli.main import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
