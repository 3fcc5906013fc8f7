"""``netdctl``: the command line of an operator.

A command imports what it needs when it runs. An operator waits for each command, and pydantic,
Twisted and OpenSSL together take half a second to import.
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
from netd.ctl import control
from netd.model.problem import ConfigurationError, ExitStatus


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-v", "--version", prog_name="netdctl")
@click.option("--socket", metavar="PATH", help="Connect to this admin socket.")
@click.option("--config", metavar="FILE", help="Read [admin] from the daemon's configuration FILE.")
@click.pass_context
def main(context: click.Context, socket: str | None, config: str | None) -> None:
    """Check, explain and control netd."""
    context.obj = partial(admin_socket, socket, config)


def admin_socket(socket: str | None, config: str | None) -> str:
    """Return the path of the admin socket: from the options, the usual file, or the usual path.

    Exits when the file cannot be read.
    """
    if socket is not None:
        return socket
    file = config or default_file()
    if file is None:
        return usual_socket("netd.toml")
    try:
        return find_socket(file)
    except (OSError, ValueError) as error:
        _leave(ExitStatus.CONFIG, f"{file}:1: cannot find the admin socket: {error}")


control.add_to(main)


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def check(files: tuple[str, ...]) -> None:
    """Validate FILE.

    Read and validate FILE and the files that it includes, and import what its services run, in
    separate processes. Bind nothing.

    The exit status is 0 if FILE is valid. Otherwise it is 78, and stderr has one line for each
    problem. Notes on stderr do not change the exit status.
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
    "--json",
    "as_json",
    is_flag=True,
    help="Print a list of objects: key, value, file, line, hidden.",
)
def print_config(file: str | None, as_json: bool) -> None:
    """Print the effective configuration of FILE.

    Print every key as TOML that netd can read, each with FILE:LINE or "default" beside its value.
    The output is one file: included files and [defaults] are merged, paths are absolute, secrets
    are hidden.

    Without FILE, print the file that "twistd netd" would read. Like "check", the command imports
    what the services run, since some defaults depend on that.
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
    help="Address, unix, uid:N, user:NAME, gid:N, group:NAME or certificate:NAME of the client."
    " Repeat the option for a client with several, such as a user and a certificate.",
)
@control.as_json
@click.pass_context
def explain(context: click.Context, service: str, client: tuple[str, ...], as_json: bool) -> None:
    """Show which entry of SERVICE's lists decides on a client.

    Print the entry that admits or refuses it, with file and line. Read the file of --config, or the
    one that "twistd netd" would read. Evaluate only the lists, not proxy_protocol and
    verify_request.
    """
    from netd.config.load import load
    from netd.ctl import explain as explaining

    file = (context.find_root().params["config"]) or default_file()
    if file is None:
        _leave(ExitStatus.CONFIG, f"netdctl: {NONE_THERE}; name one by --config FILE")
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

    An editor that supports taplo's directive reads the schema if the first line of the TOML file is
    "#:schema FILE".
    """
    from netd.config.reference.json_schema import as_text

    click.echo(as_text(), nl=False)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
def socket_options(as_json: bool) -> None:
    """Print the socket options of this machine.

    Print the options for [services.NAME.socket] that the running kernel has, with the form of their
    values, the listeners that they fit, when they are set, and what they mean.
    """
    from netd.config.reference import option_reference
    from netd.listening.options.apply import here

    write = option_reference.as_json if as_json else option_reference.as_lines
    click.echo(write(here()), nl=False)


@main.command()
@click.argument("address", metavar="HOST:PORT")
@click.option("--pem", "form", flag_value="pem", help="Print only the certificate, in PEM.")
@click.option("--der", "form", flag_value="der", help="Write only the certificate, in DER.")
@click.option("--json", "form", flag_value="json", help="Print a JSON object.")
@click.option("--name", metavar="NAME", help="Expected host name. [default: HOST]")
@click.option(
    "--ca",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Trusted authorities, in PEM. [default: those of this machine]",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Timeout in seconds.",
)
def certificate(
    address: str, form: str | None, name: str | None, ca: str | None, timeout: float
) -> None:
    """Print and verify the certificate of a TLS service.

    Connect to HOST:PORT (IPv6 in brackets) or unix:PATH.

    The exit status is 0 if a client would accept the certificate: it is issued by a trusted
    authority, has not expired, and is for NAME. With --pem or --der it is 0 if the service presents
    a certificate. Otherwise it is 1, and stderr says why.
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
    """Create a configuration, a handler and a systemd unit.

    Create them in DIR, and overwrite nothing. The files run as they are, on the loopback and
    without privileges.
    """
    from netd.ctl.init import CannotStart, start

    try:
        click.echo(start(directory))
    except CannotStart as error:
        _leave(ExitStatus.FAILURE, f"netdctl: {error}")


@main.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def import_(files: tuple[str, ...]) -> None:
    """Convert files of inetd or xinetd to a configuration.

    Print the configuration. FILE is an inetd.conf, an xinetd.conf, or a directory such as xinetd.d.
    All FILEs, and the files that they include, are read as one configuration. Comments in the
    output say what has no counterpart. A service that would admit more clients without it is
    disabled.

    The exit status is 0. If lines could not be read, it is 78, and stderr has these lines.
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
