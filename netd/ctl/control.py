"""The commands of netdctl for a running daemon, through its admin socket."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from netd.model.log import LEVELS
from netd.model.problem import ExitStatus

if TYPE_CHECKING:
    from netd.ctl.client import Client, Reply

STOP_PATIENCE: Final = 3600.0
"""Seconds that ``stop`` waits. The daemon has a bound of its own, ``graceful_timeout``, so this one
only ends the wait for a daemon that hangs."""


def add_to(group: click.Group) -> None:
    """Add the commands to *group*, whose context's ``obj`` says where the admin socket is."""
    acting = (reload, suspend, resume, drain, disconnect, stop, upgrade, log)
    for command in (status, connections, plan, *acting):
        group.add_command(command)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@as_json
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show every service with its state and counters."""
    values = _see(context, "status").values
    if as_json:
        click.echo(json.dumps(values, indent=1))
        return
    uptime = timedelta(seconds=int(values["uptime"]))
    click.echo(
        f"netd {values['version']}, pid {values['pid']}, {values['state']}, up {uptime}, "
        f"{values['configuration']}"
    )
    head = ["SERVICE", "STATE", "PROCESSES", "ACTIVE", "SERVED", "REFUSED", "FAILED", "DROPPED"]
    rows = [
        [
            one["name"],
            one["state"],
            len(one["processes"]),
            *(one[key] for key in ("active", "served", "refused", "failed", "dropped")),
            ", ".join(one["listeners"]),
        ]
        for one in values["services"]
    ]
    _table([*head, "LISTENS ON"], rows)
    for one in values["draining"]:
        # "leaving", not "draining": a service that is being removed first accepts what is queued.
        click.echo(f"leaving: {one['service']}, {one['state']}, {one['connections']} connections")


@click.command()
@click.argument("service", required=False)
@as_json
@click.pass_context
def connections(context: click.Context, service: str | None, as_json: bool) -> None:
    """List connections, oldest first; those of SERVICE, or all."""
    query = {} if service is None else {"service": service}
    found = _see(context, "connections", **query).values
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    now = time.time()
    rows = [
        [one["id"], one["service"], one["client"], f"{max(0.0, now - one['since']):.1f}s"]
        for one in found
    ]
    for line in _aligned(rows):
        click.echo(line)


@click.command()
@click.argument("file", required=False, type=click.Path())
@as_json
@click.pass_context
def plan(context: click.Context, file: str | None, as_json: bool) -> None:
    """Show what a reload would change, and why.

    With FILE, show what a reload of FILE instead of the daemon's own file would change.
    """
    query = {} if file is None else {"file": os.path.abspath(file)}
    _show_outcome(_client(context).see("plan", **query), as_json)


@click.command()
@as_json
@click.pass_context
def reload(context: click.Context, as_json: bool) -> None:
    """Reload the configuration, and wait until it is in effect.

    The exit status is 0 if the new configuration is in effect. Otherwise it is 78 (the
    configuration has problems) or 1 (the reload failed), and the old one stays in effect.
    """
    _show_outcome(_client(context).do("reload"), as_json)


def _service_command(name: str, help_text: str, done: str) -> click.Command:
    @click.command(name, help=help_text)
    @click.argument("service")
    @click.pass_context
    def command(context: click.Context, service: str) -> None:
        _do(context, name, service=service)
        click.echo(f"{service}: {done}")

    return command


suspend = _service_command(
    "suspend",
    "Stop accepting clients of SERVICE.",
    "suspended",
)
resume = _service_command("resume", "Accept clients of SERVICE again.", "resumed")
drain = _service_command("drain", "Suspend SERVICE, and wait until its handlers return.", "empty")


@click.command()
@click.argument("connection", metavar="ID")
@click.pass_context
def disconnect(context: click.Context, connection: str) -> None:
    """Close the connection ID, and wait for its handler.

    "netdctl connections" shows the IDs.
    """
    _do(context, "disconnect", id=connection)
    click.echo(f"{connection}: disconnected")


@click.command()
@click.pass_context
def stop(context: click.Context) -> None:
    """Stop the daemon gracefully, and wait until it has exited."""
    pid = _see(context, "status").values["pid"]
    # Before the order, so that the descriptor cannot be of another process with the same pid.
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    _do(context, "stop")
    if not select.select([watched], [], [], STOP_PATIENCE)[0]:
        _fail([f"the daemon (pid {pid}) is still running"])
    click.echo("stopped")


@click.command()
@click.pass_context
def upgrade(context: click.Context) -> None:
    """Replace the daemon by the installed version of netd.

    No listener is closed meanwhile.
    """
    values = _do(context, "upgrade").values
    click.echo(f"upgraded: pid {values['pid']} serves now")


@click.command()
@click.argument("level", required=False, type=click.Choice(LEVELS))
@click.pass_context
def log(context: click.Context, level: str | None) -> None:
    """Set the log level of all processes until the next reload.

    Without LEVEL, print the current level.
    """
    if level is not None:
        _do(context, "log", level=level)
    click.echo(_see(context, "status").values["log_level"])


# Asking.


def _client(context: click.Context) -> Client:
    # Imported here, since commands without a daemon need no HTTP client.
    from netd.ctl.client import Client, NoDaemon

    class Asking(Client):
        """Prints an error and exits if no daemon answers."""

        def _ask(self, method: str, what: str, query: dict[str, str]) -> Reply:
            try:
                return super()._ask(method, what, query)
            except NoDaemon as error:
                _fail([f"netdctl: {error}"])

    return Asking(context.obj())


def _see(context: click.Context, what: str, **query: str) -> Reply:
    return _checked(_client(context).see(what, **query))


def _do(context: click.Context, what: str, **query: str) -> Reply:
    return _checked(_client(context).do(what, **query))


def _checked(reply: Reply) -> Reply:
    if not reply.ok:
        _fail(reply.problems)
    return reply


def _fail(problems: Iterable[str], code: int = ExitStatus.FAILURE) -> NoReturn:
    for problem in problems:
        click.echo(problem, err=True)
    sys.exit(code)


# Showing.


def _show_outcome(reply: Reply, as_json: bool) -> None:
    values = reply.values
    if as_json:
        click.echo(json.dumps(values, indent=1))
    else:
        for step in values.get("steps", []):
            why = f": {', '.join(step['why'])}" if step["why"] else ""
            click.echo(f"{step['fate']} {step['service']}{why}")
        _show_settings(values.get("settings", []))
    if not reply.ok:
        # Without steps there is no plan, because the configuration has problems.
        is_configuration = not values.get("steps")
        code = ExitStatus.CONFIG if is_configuration else ExitStatus.FAILURE
        _fail([] if as_json else reply.problems, code)


def _show_settings(settings: Sequence[dict[str, Any]]) -> None:
    if settings:
        from netd.config.plan import Setting

        for setting in settings:
            click.echo(Setting(**setting))


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    for line in _aligned([head, *rows]):
        click.echo(line)


def _aligned(rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the rows as lines with aligned columns."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
