"""``netdctl``: what an operator asks of netd beside the daemon itself."""

from __future__ import annotations

import sys

import click

from netd import __version__
from netd.daemon.checking import check as checked
from netd.inetd.importing import imported
from netd.inetd.machine import ThisMachine
from netd.values.problem import ConfigurationError, ExitStatus


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="netdctl")
def main() -> None:
    """Check and control netd."""


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
