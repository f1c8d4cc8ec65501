"""The root command, its options, and the way from a command line to an exit code (docs/command-line.md)."""

from __future__ import annotations

import os
from importlib import import_module

import click

from hhtui.cli.console import INTERRUPTED, Console, complained, ended, failed
from hhtui.cli.session import Group, Session, command, shared_options

# Set by the completion script that click generates for shells.
COMPLETION = "_HHTUI_COMPLETE"

# Where each command lives, in the order of the help.
COMMANDS = {
    "status": "hhtui.cli.status:status",
    "start": "hhtui.cli.actions:start",
    "stop": "hhtui.cli.actions:stop",
    "restart": "hhtui.cli.actions:restart",
    "install": "hhtui.cli.actions:install",
    "enable": "hhtui.cli.actions:enable",
    "disable": "hhtui.cli.actions:disable",
    "reset": "hhtui.cli.actions:reset",
    "remove": "hhtui.cli.remove:remove",
    "move": "hhtui.cli.move:move",
    "why": "hhtui.cli.status:why",
    "logs": "hhtui.cli.logs:logs",
    "events": "hhtui.cli.events:events",
    "metrics": "hhtui.cli.metrics:metrics",
    "config": "hhtui.cli.config:config",
    "update": "hhtui.cli.update:update",
    "rollback": "hhtui.cli.update:rollback",
    "settings": "hhtui.cli.settings:settings",
    "set": "hhtui.cli.settings:set_app",
    "unset": "hhtui.cli.settings:unset",
    "secret": "hhtui.cli.settings:secret",
    "add": "hhtui.cli.add:add",
    "search": "hhtui.cli.add:search",
    "catalog": "hhtui.cli.add:catalog",
    "validate": "hhtui.cli.authoring:validate",
    "new": "hhtui.cli.authoring:new",
    "gateway": "hhtui.cli.gateway:gateway",
    "engine": "hhtui.cli.engine:engine",
    "backup": "hhtui.cli.backup:backup",
    "restore": "hhtui.cli.backup:restore",
    "doctor": "hhtui.cli.doctor:doctor",
    "clean": "hhtui.cli.clean:clean",
    "export": "hhtui.cli.export:export",
    "import": "hhtui.cli.export:import_",
    "service": "hhtui.cli.service:service",
    "schema": "hhtui.cli.authoring:schema",
    "hosts": "hhtui.cli.hosts:hosts",
    "completion": "hhtui.cli.main:completion",
}

_LONGEST_NAME = 40


class LazyGroup(Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise click.UsageError(f"unknown command {name!r}{_similar(name)}")
        return super().resolve_command(ctx, args)


def _similar(name: str) -> str:
    from difflib import get_close_matches

    # Comparing takes the square of the length.
    near = get_close_matches(name, COMMANDS, n=1) if len(name) < _LONGEST_NAME else []
    return f"; did you mean {near[0]!r}?" if near else ""


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, help="Show the version and exit.")
@click.option("--engine-only", is_flag=True, help="Run the engine in the foreground, without an interface.")
@click.option("--demo", is_flag=True, help="Try it out: example apps in a home that is thrown away afterwards.")
@click.option("--in-process", is_flag=True, help="Run the engine inside the interface's process.")
@click.option("--read-only", is_flag=True, help="Watch only: the interface changes nothing.")
@click.option("--plain", is_flag=True, help="Line after line, for screen readers: nothing is drawn over.")
@click.option(
    "--web", metavar="[PORT]", is_flag=False, flag_value="", help="In a browser on this machine (PORT: 8010); attaches."
)
@shared_options
@click.pass_context
def root(
    ctx: click.Context,
    version: bool,
    engine_only: bool,
    demo: bool,
    in_process: bool,
    read_only: bool,
    plain: bool,
    web: str | None,
) -> None:
    """Run, watch and heal home apps. Without a command: the terminal interface."""
    session: Session = ctx.obj
    if version:
        _print_version(session.console)
        ctx.exit(0)
    if ctx.invoked_subcommand is not None:
        if engine_only or demo or in_process or read_only or plain or web is not None:
            raise click.UsageError(f"an option before {ctx.invoked_subcommand!r} goes without a command")
        return
    if engine_only and (demo or in_process or read_only or plain or session.host):
        raise click.UsageError("--engine-only goes with --home alone")
    if plain and in_process:
        raise click.UsageError("--plain goes without --in-process")
    if engine_only:
        # The one place where the command line loads the engine.
        from hhtui.engine.main import run_engine

        ctx.exit(run_engine(session.home.root, console=not session.console.quiet))
    if web is not None:
        if engine_only or demo or in_process or plain or session.host:
            raise click.UsageError("--web goes with --home and --read-only alone")
        from hhtui.cli.web import DEFAULT_PORT, run_web

        if web and not (web.isascii() and web.isdigit() and 1 <= int(web[:9]) <= 65_535):
            raise click.UsageError("--web: PORT must be a number from 1 to 65535")
        port = int(web) if web else DEFAULT_PORT
        ctx.exit(run_web(session.home, session.console, port=port, read_only=read_only))
    commands = None
    if plain:
        from functools import partial

        from hhtui.cli.plain import Commands

        commands = Commands(root, partial(run, linear=True))
    from hhtui.cli.interface import run_demo, run_interface, run_remote_interface

    if session.host is not None:
        if demo or in_process:
            raise click.UsageError("--host shows an engine that runs there: leave out --demo and --in-process")
        ctx.exit(run_remote_interface(session.tunnel(), session.console, read_only=read_only, plain=commands))
    if demo:
        if session.home_given:
            raise click.UsageError("--demo makes a home of its own: leave out --home")
        ctx.exit(run_demo(session.console, in_process=in_process, read_only=read_only, plain=commands))
    ctx.exit(run_interface(session.home, session.console, in_process=in_process, read_only=read_only, plain=commands))


def _print_version(console: Console) -> None:
    from hhtui import __version__

    if console.json:
        console.document({"version": __version__})
    else:
        console.data(f"hhtui {__version__}")


def run(arguments: list[str], *, linear: bool = False) -> int:
    """Run the command line on ``arguments``; the exit code. Nothing that a user can cause is a traceback.

    ``linear``: for people who listen, so in sentences where otherwise columns and glyphs are.
    """
    session = Session()
    session.console.linear = linear
    try:
        if COMPLETION in os.environ:
            root.main(arguments, prog_name="hhtui")
        if names_host(arguments):
            from hhtui.cli.hosts import run_on_host

            if (code := run_on_host(arguments, session.console)) is not None:
                return code
        # Not root.main: it has endings of its own for a closed pipe and for Ctrl-C.
        with root.make_context("hhtui", arguments, obj=session) as context:
            root.invoke(context)
        session.console.flush()
        return 0
    except click.exceptions.Exit as end:
        return ended(session.console, end.exit_code)
    except click.UsageError as error:
        return _usage(session.console, error)
    except click.ClickException as error:
        return complained(session.console, error.format_message(), 1)
    except click.Abort:
        return INTERRUPTED
    except (Exception, KeyboardInterrupt) as error:
        return failed(session.console, error)
    finally:
        session.close()


def names_host(arguments: list[str]) -> bool:
    """Whether ``--host`` is among the words; exact parsing comes later."""
    return any(word == "--host" or word.startswith("--host=") for word in arguments)


def _usage(console: Console, error: click.UsageError) -> int:
    path = error.ctx.command_path if error.ctx else "hhtui"
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and error.ctx is not None:
        group = error.ctx.command
        names = ", ".join(group.list_commands(error.ctx)) if isinstance(group, click.Group) else ""
        message = f"{error.ctx.info_name} needs a command: {names}"
    else:
        message = error.format_message().rstrip(".").replace(". Did you mean", "; did you mean")
        message = message[:1].lower() + message[1:]
    console.complain(f"{message}; see `{path} --help`")
    return 2


@command("completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(session: Session, shell: str) -> None:
    """Print what makes SHELL complete hhtui's commands; for bash: eval "$(hhtui completion bash)" in ~/.bashrc."""
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    assert maker is not None
    complete = maker(root, {}, "hhtui", COMPLETION)
    # Not complete.source(): for bash that runs one, to complain about old versions of it.
    session.console.data((complete.source_template % complete.source_vars()).rstrip("\n"))
