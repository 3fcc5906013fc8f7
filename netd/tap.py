"""``twistd netd``: options, and the service that they make.

twistd forks after ``makeService``, and closes stderr. So everything that can be wrong is found
here, and everything is bound here; but nothing is started: no thread, no worker, no reactor call.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python import usage

from netd import __version__
from netd.admin.service import AdminService, bind_admin
from netd.config import command_line
from netd.config.files import DEFAULT_FILES, NONE_THERE, default_file
from netd.config.load import load
from netd.daemon.check.check import check_loaded, check_rights
from netd.daemon.check.self_signed import with_certificates
from netd.daemon.forkserver.spawner import ForkSpawner
from netd.daemon.generations.predecessor import Predecessor
from netd.daemon.generations.upgrade import CommandLine
from netd.daemon.run_in_thread import aside
from netd.daemon.service import Daemon
from netd.daemon.systemd import Notifications
from netd.listening.activation import Passed, initial_environment, with_passed
from netd.listening.activation import received as received_from_manager
from netd.listening.binding import CannotBind, Listener, Listeners, bind_all
from netd.listening.handover import Handover, received
from netd.log.destination import LogLocation
from netd.log.file import cannot_log
from netd.log.writer import DaemonLog, Log, RelayedLog
from netd.model.log import Log as LogSettings
from netd.model.problem import ConfigurationError, ExitStatus
from netd.model.service import Configuration, Owner

log = Logger()


class Options(usage.Options):
    """Command line of ``twistd netd``."""

    synopsis = "[--config FILE | --handler MODULE:CLASS --listen ADDRESS...]"
    longdesc = (
        "Serves socketserver handlers: those of a configuration file or, for a first try, one from"
        " a module in the current directory. --listen tcp:PORT is on all addresses of the machine,"
        " tcp:PORT:interface=127.0.0.1 on one of them, unix:PATH a Unix socket."
    )
    optParameters = [
        [
            "config",
            "c",
            None,
            f"The configuration file. [default: the first of {', '.join(DEFAULT_FILES)}]",
        ],
        [
            "handler",
            None,
            None,
            "Serve this class, MODULE:CLASS, without a configuration file.",
        ],
    ]
    optFlags = [["check", None, "Say all that is wrong, or that nothing is; bind nothing."]]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.toml")})

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []

    def opt_listen(self, address: str) -> None:
        """Where it listens, as a file has it; may be given again."""
        self["listen"].append(address)

    def opt_version(self) -> None:
        """Print the version and leave."""
        print(f"netd {__version__}")
        sys.exit(ExitStatus.OK)

    opt_v = opt_version

    @property
    def without_file(self) -> bool:
        """Whether the configuration is on the command line."""
        return self["handler"] is not None or bool(self["listen"])

    def postOptions(self) -> None:
        """Refuse two configurations at once."""
        if self.without_file and self["config"] is not None:
            raise usage.UsageError("give --config, or --handler with --listen, but not both")


def makeService(options: Options) -> IService:
    """Check the configuration, bind its listeners and return the daemon, not started.

    Ends the process with status 78 and every problem on stderr, or with status 1 and what cannot
    be bound.
    """
    # Until the daemon takes signals over, and the default action is to end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _open_standard_descriptors()
    before = _handover()
    notifications = Notifications.of(os.environ, os.getpid())
    passed = received_from_manager(os.environ, initial_environment(), os.getpid())
    held = Listeners([*(before.listeners if before is not None else ()), *passed.listeners])
    configuration = _checked(options, held)
    if options["check"]:
        for note in configuration.notes:
            print(f"note: {note}", file=sys.stderr)
        print(f"{configuration.file}: ok ({len(configuration.services)} services)")
        sys.exit(ExitStatus.OK)
    log_place = _log_place(options.parent or {})
    daemon_log = _log(log_place, configuration.log)
    try:
        listeners = bind_all(configuration.services, held)
        admin_listeners = bind_admin(configuration, held)
    except CannotBind as error:
        _leave(ExitStatus.FAILURE, f"netd: {error}")
    _close_unused(passed, Listeners([*listeners, *admin_listeners]))
    from twisted.internet import reactor

    read = _reading_again(options, configuration)
    # Absolute, because a daemon changes its directory.
    configuration = replace(configuration, file=os.path.abspath(configuration.file))

    def again(other: str | None) -> Deferred[Configuration]:
        passed_now = [one for one in daemon.generation.listeners if one.is_passed]
        return aside(reactor, partial(_checked_again, read, as_whom_of(options), passed_now, other))

    command = CommandLine.of_this_process(options.parent or {}, notifications.variables())
    daemon = Daemon(
        configuration,
        listeners,
        reactor,
        ForkSpawner(reactor),
        daemon_log,
        log_place,
        again,
        command,
        notifications,
        Predecessor(before, reactor) if before is not None else None,
    )
    AdminService(daemon, admin_listeners, reactor).setServiceParent(daemon)
    return daemon


def _checked_again(
    read: Callable[[], Configuration],
    as_whom: Owner,
    passed: Iterable[Listener],
    other: str | None,
) -> Configuration:
    """Read and check the configuration of a running daemon, or another one for it.

    Raises ConfigurationError.
    """
    loaded = with_passed(read() if other is None else load(other), passed)
    configuration = check_loaded(loaded, as_whom)
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


def _close_unused(passed: Passed, used: Listeners) -> None:
    """Say what the service manager has passed in vain, and close it."""
    for why in passed.refused:
        log.warn("passed by the service manager: {why}", why=why)
    unused = passed.listeners.without(used)
    for listener in unused:
        log.warn(
            "passed by the service manager, and no service listens on {address}: {bound} is closed",
            address=str(listener.address),
            bound=listener.bound,
        )
    unused.close()


def _open_standard_descriptors() -> None:
    """See to it that 0, 1 and 2 are open, so that no socket is ever taken for the terminal."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)


def _checked(options: Options, passed: Listeners) -> Configuration:
    as_whom = as_whom_of(options)
    try:
        configuration = check_loaded(with_passed(_configuration(options), passed), as_whom)
        if not options["check"]:
            check_rights(configuration, as_whom)
            configuration = with_certificates(configuration, as_whom)
    except ConfigurationError as error:
        _leave(ExitStatus.CONFIG, str(error))
    return configuration


def _configuration(options: Options) -> Configuration:
    if options.without_file:
        return command_line.configuration(options["handler"], options["listen"], os.getcwd())
    file = options["config"] or default_file()
    if file is None:
        _leave(ExitStatus.CONFIG, f"netd: {NONE_THERE}; use --config FILE")
    return load(file)


def _reading_again(options: Options, configuration: Configuration) -> Callable[[], Configuration]:
    """What reads the *configuration* once more, from wherever the daemon is then."""
    if options.without_file:
        return partial(
            command_line.configuration, options["handler"], options["listen"], os.getcwd()
        )
    return partial(load, os.path.abspath(configuration.file))


def _log_place(twistd: Mapping[str, Any]) -> LogLocation:
    stream = sys.stdout or sys.stderr
    place = LogLocation(twistd, os.getcwd(), None if stream is None else stream.fileno())
    if place.is_impossible:
        _leave(ExitStatus.USAGE, "netd: a daemon cannot log to stdout; use --logfile FILE")
    return place


def _log(place: LogLocation, configured: LogSettings) -> Log:
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
