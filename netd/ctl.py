"""``netdctl``: what an operator asks of netd beside the daemon itself."""

from __future__ import annotations

import sys

import click

from netd import __version__
from netd.daemon.checking import check as checked
from netd.values.problem import ConfigurationError, ExitStatus


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="netdctl")
def main() -> None:
    """Check and control netd."""


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def check(files: tuple[str, ...]) -> None:
    """Read, validate and import everything that FILE names; bind nothing.

    Exits with 0, or with 78 and every problem on stderr, one a line.
    """
    status = ExitStatus.OK
    for file in files:
        try:
            services = checked(file).services
        except ConfigurationError as error:
            click.echo(str(error), err=True)
            status = ExitStatus.CONFIG
        else:
            click.echo(f"{file}: ok ({len(services)} services)")
    sys.exit(status)
