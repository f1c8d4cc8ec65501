"""``hhtui completion``: what a shell needs to complete our commands."""

from __future__ import annotations

import click

from hhtui.cli.session import Session, command


@command("completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(session: Session, shell: str) -> None:
    """Print what makes SHELL complete hhtui's commands; for bash: eval "$(hhtui completion bash)" in ~/.bashrc."""
    from click.shell_completion import get_completion_class

    from hhtui.cli.main import COMPLETION, root

    maker = get_completion_class(shell)
    assert maker is not None
    complete = maker(root, {}, "hhtui", COMPLETION)
    # Not complete.source(): for bash that runs one, to complain about old versions of it.
    session.console.data((complete.source_template % complete.source_vars()).rstrip("\n"))
