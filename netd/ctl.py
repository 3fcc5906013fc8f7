"""``netdctl``: what an operator asks of netd beside the daemon itself."""

from __future__ import annotations

import sys
from functools import partial

import click

from netd import __version__
from netd.admin import cli
from netd.config.admin import find_socket, usual_socket
from netd.config.files import default_file
from netd.daemon.checking import check as checked
from netd.inetd.importing import imported
from netd.inetd.machine import ThisMachine
from netd.values.problem import ConfigurationError, ExitStatus


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="netdctl")
@click.option("--socket", metavar="PATH", help="The daemon's admin socket.")
@click.option("--config", metavar="FILE", help="The daemon's configuration, for its [admin].")
@click.pass_context
def main(context: click.Context, socket: str | None, config: str | None) -> None:
    """Check and control netd."""
    context.obj = partial(admin_socket, socket, config)


def admin_socket(socket: str | None, config: str | None) -> str:
    """Where the daemon answers: as the options say, or the usual file, or the usual place.

    Ends the process when the file cannot be read.
    """
    if socket is not None:
        return socket
    file = config or default_file()
    if file is None:
        return usual_socket("netd.toml")
    try:
        return find_socket(file)
    except (OSError, ValueError) as error:
        click.echo(f"{file}:1: cannot tell where the admin socket is: {error}", err=True)
        sys.exit(ExitStatus.CONFIG)


cli.add_to(main)


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def check(files: tuple[str, ...]) -> None:
    """Read, validate and import everything that FILE names; bind nothing.

    Exits with 0, or with 78 and every problem on stderr, one a line. Notes, on stderr too, are
    no problems.
    """
    status = ExitStatus.OK
    for file in files:
        try:
            configuration = checked(file)
        except ConfigurationError as error:
            click.echo(str(error), err=True)
            status = ExitStatus.CONFIG
        else:
            for note in configuration.notes:
                click.echo(f"note: {note}", err=True)
            click.echo(f"{file}: ok ({len(configuration.services)} services)")
    sys.exit(status)


@main.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def import_(files: tuple[str, ...]) -> None:
    """Print what FILE... of inetd or xinetd would be as a configuration of netd.

    FILE is an inetd.conf, an xinetd.conf, or a directory such as xinetd.d; all are read as one
    configuration, with what they include. Comments say what could not be carried over; a service
    that would be more open without it is off.

    Exits with 0, or with 78 and every line that could not be read on stderr.
    """
    try:
        found = imported(files, ThisMachine())
    except ConfigurationError as error:
        click.echo(str(error), err=True)
        sys.exit(ExitStatus.CONFIG)
    click.echo(found.text, nl=False)
    for problem in found.problems:
        click.echo(str(problem), err=True)
    sys.exit(ExitStatus.CONFIG if found.problems else ExitStatus.OK)
