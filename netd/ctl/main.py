"""``netdctl``: what an operator asks of netd beside the daemon itself.

What only one command needs is imported by that command: most are typed by somebody who waits.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import NoReturn

import click

from netd import __version__
from netd.config.admin import find_socket, usual_socket
from netd.config.files import NONE_THERE, default_file
from netd.ctl import control as cli
from netd.model.problem import ConfigurationError, ExitStatus


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-v", "--version", prog_name="netdctl")
@click.option("--socket", metavar="PATH", help="The daemon's admin socket.")
@click.option("--config", metavar="FILE", help="The daemon's configuration, for its [admin].")
@click.pass_context
def main(context: click.Context, socket: str | None, config: str | None) -> None:
    """Check, explain and control netd."""
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
        _leave(ExitStatus.CONFIG, f"{file}:1: cannot tell where the admin socket is: {error}")


cli.add_to(main)


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def check(files: tuple[str, ...]) -> None:
    """Say all that is wrong with FILE, or that nothing is.

    FILE is read and validated, and all that it names is imported, in processes of their own.
    Nothing is bound. The exit status is 0, or 78 with every problem on stderr, one a line. Notes,
    on stderr too, are no problems.
    """
    from netd.daemon.check.check import check as checked

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


@main.command()
@click.argument("file", required=False)
@click.option(
    "--json", "as_json", is_flag=True, help="As a list of objects: key, value, file, line, hidden."
)
def print_config(file: str | None, as_json: bool) -> None:
    """Print the effective configuration, and where it is from.

    That is every key, with FILE:LINE or "default" beside its value, as TOML that netd can read:
    one file, with [defaults] put in place, paths made absolute and secrets hidden. Without FILE it
    is about the one that "twistd netd" would take. As "check" does, it imports what is run, which
    decides on some defaults.
    """
    from netd.config.effective import decided, settings
    from netd.config.load import loaded
    from netd.config.reference.json_schema import json_schema
    from netd.ctl import print_config as printing
    from netd.daemon.check.check import check_loaded

    file = file or default_file()
    if file is None:
        _leave(ExitStatus.CONFIG, f"netdctl: {NONE_THERE}; name a FILE")
    try:
        written = loaded(file)
        found = decided(written, check_loaded(written.configuration).services)
    except ConfigurationError as error:
        _leave(ExitStatus.CONFIG, str(error))
    effective = settings(json_schema(), found.tables, found.configuration.locations)
    text = printing.as_json(effective) if as_json else printing.as_toml(effective, found.files)
    click.echo(text, nl=False)


@main.command()
@click.argument("service")
@click.option(
    "--from",
    "client",
    multiple=True,
    required=True,
    metavar="CLIENT",
    help="An address, unix, uid:N, user:NAME, gid:N, group:NAME or certificate:NAME; may be given"
    " again, since a client may have a user and a certificate, too.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def explain(context: click.Context, service: str, client: tuple[str, ...], as_json: bool) -> None:
    """Say which entry of SERVICE's lists would admit or refuse a client, with file and line.

    It is about the configuration of --config, or the one that "twistd netd" would take. Nobody is
    asked but the lists: no proxy, no verify_request.
    """
    from netd.config.load import load
    from netd.ctl import explain as explaining

    file = (context.find_root().params["config"]) or default_file()
    if file is None:
        _leave(ExitStatus.CONFIG, f"netdctl: {NONE_THERE}; use --config FILE")
    try:
        found = explaining.explain(load(file), service, client)
    except ConfigurationError as error:
        _leave(ExitStatus.CONFIG, str(error))
    except KeyError:
        _leave(ExitStatus.FAILURE, f"netdctl: there is no service {service} in {file}")
    except ValueError as error:
        _leave(ExitStatus.USAGE, f"netdctl: {error}")
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=1))
    else:
        click.echo("\n".join(found.lines()))


@main.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors.

    Those that know taplo's directive take it from a first line "#:schema FILE" in the TOML file.
    """
    from netd.config.reference.json_schema import as_text

    click.echo(as_text(), nl=False)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As a list of objects, for programs.")
def socket_options(as_json: bool) -> None:
    """Print every socket option that [services.NAME.socket] can have here.

    Those are the options that netd knows and the kernel of this machine has: what their values are
    like, which listeners they are for, when they are set, and what they mean.
    """
    from netd.config.reference import option_reference
    from netd.listening.options.apply import here

    write = option_reference.as_json if as_json else option_reference.as_lines
    click.echo(write(here()), nl=False)


@main.command()
@click.argument("address", metavar="HOST:PORT")
@click.option("--pem", "form", flag_value="pem", help="Print the certificate itself, in PEM.")
@click.option("--der", "form", flag_value="der", help="Write the certificate itself, in DER.")
@click.option("--json", "form", flag_value="json", help="For programs.")
@click.option("--name", metavar="NAME", help="Whom it should be for. [default: HOST]")
@click.option(
    "--ca",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Who may have issued it, in PEM. [default: whom this machine trusts]",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="How long it may take.",
)
def certificate(
    address: str, form: str | None, name: str | None, ca: str | None, timeout: float
) -> None:
    """Print the certificate that a TLS service presents, and whether to believe it.

    The service is at HOST:PORT (IPv6 in brackets) or unix:PATH. The exit status is 0 if a client
    could believe it: issued by who is trusted, not expired, and for NAME; with --pem or --der, if
    there is one. Otherwise it is 1, and what is wrong is on stderr.
    """
    from datetime import UTC, datetime

    from netd.ctl import certificate as asking

    try:
        found = asking.ask(asking.Endpoint.of(address), name, ca, timeout)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="HOST:PORT") from None
    except asking.CannotAsk as error:
        _leave(ExitStatus.FAILURE, f"{address}: {error}")
    if form in ("pem", "der"):
        click.echo(found.pem() if form == "pem" else found.der(), nl=False)
        return
    now = datetime.now(UTC)
    if form == "json":
        click.echo(json.dumps(found.presented.facts(now), indent=1))
    else:
        click.echo("\n".join(found.presented.lines(now)))
    problems = list(found.presented.problems())
    for problem in problems:
        click.echo(f"{address}: {problem}", err=True)
    sys.exit(ExitStatus.FAILURE if problems else ExitStatus.OK)


@main.command()
@click.argument("directory", metavar="DIR")
def init(directory: str) -> None:
    """Make a start: a configuration, a handler, a systemd unit.

    They are made in DIR, overwrite nothing, and run as they are: on the loopback and without
    privilege.
    """
    from netd.ctl.init import CannotStart, start

    try:
        click.echo(start(directory))
    except CannotStart as error:
        _leave(ExitStatus.FAILURE, f"netdctl: {error}")


@main.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def import_(files: tuple[str, ...]) -> None:
    """Print what FILE... of inetd or xinetd would be as a configuration of netd.

    FILE is an inetd.conf, an xinetd.conf, or a directory such as xinetd.d; all are read as one
    configuration, with what they include. Comments say what could not be carried over; a service
    that would be more open without it is off.

    Exits with 0, or with 78 and every line that could not be read on stderr.
    """
    from netd.ctl.inetd.command import imported
    from netd.ctl.inetd.machine import ThisMachine

    try:
        found = imported(files, ThisMachine())
    except ConfigurationError as error:
        _leave(ExitStatus.CONFIG, str(error))
    click.echo(found.text, nl=False)
    for problem in found.problems:
        click.echo(str(problem), err=True)
    sys.exit(ExitStatus.CONFIG if found.problems else ExitStatus.OK)


def _leave(status: ExitStatus, message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(status)
