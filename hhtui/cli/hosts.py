"""``hhtui hosts``: the machines that the interface switches between."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import click

from hhtui.cli.console import Table
from hhtui.cli.session import Session, command
from hhtui.text import sanitise

_AT_ONCE = 4


@click.group()
def hosts() -> None:
    """Keep the list of machines that the interface switches between."""


@command("list")
@click.option("--check", is_flag=True, help="Connect to each and tell how it is.")
def list_(session: Session, check: bool) -> None:
    """Show the list, and the names that your ssh knows."""
    from hhtui.client.hosts import hosts_file, listed, suggested

    known = listed(hosts_file())
    more = [host for host in suggested() if host not in known]
    console = session.console
    seen = {}
    if check and known:
        from hhtui.client.survey import survey

        console.progress(f"connecting to {len(known)} machines")
        with ThreadPoolExecutor(_AT_ONCE) as executor:
            seen = dict(zip(known, executor.map(survey, known), strict=True))
    if console.json:
        entries = [{**asdict(host), "listed": True} for host in known]
        for entry, host in zip(entries, known, strict=True):
            if host in seen:
                entry["survey"] = asdict(seen[host])
        console.document([*entries, *({**asdict(host), "listed": False} for host in more)])
        return
    table = Table(console)
    table.column("HOST")
    table.column("STATE" if check else "")
    for host in known:
        table.row([host.label, words(seen[host]) if host in seen else ""])
    for host in more:
        table.row([host.label, "known to ssh; `hhtui hosts add` puts it into the list"])
    if known or more:
        table.print()
    else:
        console.words("no hosts yet: `hhtui hosts add [user@]host`")


@command("add")
@click.argument("name", metavar="HOST")
def add(session: Session, name: str) -> None:
    """Put HOST ([user@]host) into the list; --home names its folder there."""
    from hhtui.client.hosts import Host, hosts_file
    from hhtui.client.hosts import add as add_host
    from hhtui.client.ssh import check_host

    entry = Host(check_host(name), session.home_option)
    new = add_host(hosts_file(), entry)
    if session.console.json:
        session.console.document({**asdict(entry), "added": new})
    else:
        session.console.words(f"{entry.label}: {'added' if new else 'is in the list already'}")


@command("remove")
@click.argument("name", metavar="HOST")
def remove(session: Session, name: str) -> None:
    """Take HOST off the list."""
    from hhtui.client.hosts import hosts_file
    from hhtui.client.hosts import remove as remove_host

    gone = remove_host(hosts_file(), name)
    if session.console.json:
        session.console.document({**asdict(gone), "removed": True})
    else:
        session.console.words(f"{gone.label}: removed from the list")


for each in (list_, add, remove):
    hosts.add_command(each)


def words(seen: object) -> str:
    """A survey in one line."""
    from hhtui.client.survey import Survey

    assert isinstance(seen, Survey)
    if seen.trouble:
        return sanitise(seen.trouble, 300)
    counts = ", ".join(f"{count} {sanitise(status, 20)}" for status, count in sorted(seen.apps.items()))
    alerts = f"; {seen.alerts} alerts" if seen.alerts else ""
    return f"engine {sanitise(seen.version, 20)}; {counts or 'no apps'}{alerts}"
