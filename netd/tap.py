"""``twistd netd``: options, and the service that they make.

twistd forks after ``makeService``, and closes stderr. So everything that can be wrong is found
here, and everything is bound here; but nothing is started: no thread, no worker, no reactor call.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NoReturn

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage

from netd import __version__
from netd.admin.service import AdminService, bind_admin
from netd.daemon.checking import check, check_rights
from netd.daemon.destinations import cannot_log
from netd.daemon.forking import ForkSpawner
from netd.daemon.log import DaemonLog, Log, RelayedLog
from netd.daemon.opening import LogPlace
from netd.daemon.service import Daemon
from netd.daemon.upgrade import CommandLine, say_ready
from netd.listening.binding import CannotBind, Listeners, bind_all
from netd.listening.handover import Handover, received
from netd.values.log import Log as LogSettings
from netd.values.problem import ConfigurationError, ExitStatus
from netd.values.service import Configuration, Owner

log = Logger()

DEFAULT_FILES: Final = ("netd.toml", "conf/netd.toml", "/etc/netd/netd.toml")
"""Where a configuration is looked for when none is named; the first that exists is taken."""


class Options(usage.Options):
    """Command line of ``twistd netd``."""

    synopsis = "[options]"
    longdesc = "Serves socketserver handlers from a configuration file."
    optParameters = [
        [
            "config",
            "c",
            None,
            f"The configuration file; otherwise the first of {', '.join(DEFAULT_FILES)}",
        ]
    ]
    optFlags = [["check", None, "Read, validate and import everything, bind nothing, and leave"]]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.toml")})

    def opt_version(self) -> None:
        """Print the version and leave."""
        print(f"netd {__version__}")
        sys.exit(ExitStatus.OK)


def makeService(options: Options) -> IService:
    """Check the configuration, bind its listeners and return the daemon, not started.

    Ends the process with status 78 and every problem on stderr, or with status 1 and what cannot
    be bound.
    """
    # Until the daemon takes signals over, and the default action is to end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _open_standard_descriptors()
    configuration = _checked(options)
    if options["check"]:
        for note in configuration.notes:
            print(f"note: {note}", file=sys.stderr)
        print(f"{configuration.file}: ok ({len(configuration.services)} services)")
        sys.exit(ExitStatus.OK)
    log_place = _log_place(options.parent or {})
    daemon_log = _log(log_place, configuration.log)
    before = _handover()
    held = before.listeners if before is not None else Listeners()
    try:
        listeners = bind_all(configuration.services, held)
        admin_listeners = bind_admin(configuration, held)
    except CannotBind as error:
        _leave(ExitStatus.FAILURE, f"netd: {error}")
    from twisted.internet import reactor

    # Absolute, because a daemon changes its directory.
    again = partial(_checked_again, os.path.abspath(configuration.file), as_whom_of(options))
    command = CommandLine.of_this_process(options.parent or {})
    daemon = Daemon(
        configuration,
        listeners,
        reactor,
        ForkSpawner(reactor),
        daemon_log,
        log_place,
        again,
        command,
    )
    admin = AdminService(daemon, admin_listeners, reactor)
    admin.setServiceParent(daemon)
    daemon.at_end(admin.close)
    daemon.handed_over += admin_listeners
    if before is not None:
        # What the daemon before had, and this one has not, goes with it.
        daemon.at_start(held.without(Listeners([*listeners, *admin_listeners])).close)
        daemon.at_start(partial(say_ready, before.ready))
    return daemon


def _checked_again(own: str, as_whom: Owner, other: str | None) -> Configuration:
    """Read and check the configuration of a running daemon, or another one for it.

    Raises ConfigurationError.
    """
    configuration = check(other or own, as_whom)
    check_rights(configuration, as_whom)
    return configuration


def as_whom_of(options: Options) -> Owner:
    """Whom twistd is told to become."""
    twistd: Mapping[str, Any] = options.parent or {}
    return Owner(twistd.get("uid"), twistd.get("gid"))


def _handover() -> Handover | None:
    """What another daemon has handed over, in whose place this one is started."""
    try:
        return received(os.environ)
    except ValueError as error:
        _leave(ExitStatus.FAILURE, f"netd: {error}")


def _open_standard_descriptors() -> None:
    """See to it that 0, 1 and 2 are open, so that no socket is ever taken for the terminal."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)


def default_file() -> str | None:
    """The configuration file that is taken when none is named."""
    return next((file for file in DEFAULT_FILES if os.path.exists(file)), None)


def _checked(options: Options) -> Configuration:
    file = options["config"] or default_file()
    if file is None:
        _leave(
            ExitStatus.CONFIG,
            f"netd: no configuration: there is no {', '.join(DEFAULT_FILES)}; use --config FILE",
        )
    as_whom = as_whom_of(options)
    try:
        configuration = check(file, as_whom)
        if not options["check"]:
            check_rights(configuration, as_whom)
    except ConfigurationError as error:
        _leave(ExitStatus.CONFIG, str(error))
    return configuration


def _log_place(twistd: Mapping[str, Any]) -> LogPlace:
    stream = sys.stdout or sys.stderr
    place = LogPlace(twistd, os.getcwd(), None if stream is None else stream.fileno())
    if place.is_impossible:
        _leave(ExitStatus.USAGE, "netd: a daemon cannot log to stdout; use --logfile FILE")
    return place


def _log(place: LogPlace, configured: LogSettings) -> Log:
    """Open the log, and say which part of ``[log]`` does not count."""
    overruled = place.overruled(configured)
    if overruled is not None:
        log.warn("nothing is logged to {place}: twistd was told where to log", place=overruled)
    if place.is_twistds:
        return RelayedLog()
    try:
        return DaemonLog(place.open(configured), place.form(configured), configured.level)
    except OSError as error:
        _leave(ExitStatus.FAILURE, f"netd: {cannot_log(error)}")


def _leave(status: ExitStatus, message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(status)
