"""``twistd netd``: its options, and the service that they make.

twistd forks after ``makeService`` and closes stderr. So ``makeService`` finds every problem and
binds every listener, but starts nothing: threads, workers and reactor calls do not survive a fork.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, Protocol, cast

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python import usage

from netd import __version__
from netd.admin.endpoint import AdminEndpoint, bind_admin
from netd.config import command_line
from netd.config.files import DEFAULT_FILES, NONE_THERE, default_file
from netd.config.load import load
from netd.core.reactor import ForkingReactor, ProcessReactor
from netd.daemon.check.check import check_loaded, check_rights
from netd.daemon.check.self_signed import with_certificates
from netd.daemon.daemon import Daemon
from netd.daemon.forkserver.spawner import ForkSpawner
from netd.daemon.generations.predecessor import Predecessor
from netd.daemon.generations.tools import DaemonTools
from netd.daemon.generations.upgrade import CommandLine
from netd.daemon.run_in_thread import run_in_thread
from netd.daemon.systemd import Notifications
from netd.listening.activation import Passed, initial_environment, with_passed
from netd.listening.activation import received as received_from_manager
from netd.listening.binding import bind_all
from netd.listening.handover import Handover, received
from netd.listening.listener import CannotBind, Listener, Listeners
from netd.log.destination import LogLocation
from netd.log.file import cannot_log
from netd.log.writer import DaemonLog, Log, RelayedLog
from netd.model.log import Log as LogSettings
from netd.model.problem import ConfigurationError, ExitStatus
from netd.model.service import Configuration, Owner

log = Logger()


class InstalledReactor(ProcessReactor, ForkingReactor, Protocol):
    """All that netd asks of the reactor."""


class Options(usage.Options):
    """Command line of ``twistd netd``."""

    synopsis = "[--config FILE | --handler MODULE:CLASS --listen ADDRESS...]"
    longdesc = (
        "Serve socketserver handlers: those of a configuration file or, to try one out, a handler"
        " from a module in the current directory. --listen tcp:PORT listens on all addresses of the"
        " machine, tcp:PORT:interface=127.0.0.1 on one of them, unix:PATH on a Unix socket."
    )
    optParameters = [
        [
            "config",
            "c",
            None,
            f"Configuration file. [default: the first of {', '.join(DEFAULT_FILES)}]",
        ],
        [
            "handler",
            None,
            None,
            "Serve the class MODULE:CLASS, without a configuration file.",
        ],
    ]
    optFlags = [["check", None, "Validate the configuration, print every problem, and exit."]]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.toml")})

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []

    def opt_listen(self, address: str) -> None:
        """Listen on ADDRESS, in the syntax of a file's listen key. May be repeated."""
        self["listen"].append(address)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"netd {__version__}")
        sys.exit(ExitStatus.OK)

    opt_v = opt_version

    @property
    def without_file(self) -> bool:
        """Whether the command line is the configuration."""
        return self["handler"] is not None or bool(self["listen"])

    def postOptions(self) -> None:
        """Refuse a file together with a configuration on the command line."""
        if self.without_file and self["config"] is not None:
            raise usage.UsageError("give --config, or --handler with --listen, but not both")


def makeService(options: Options) -> IService:
    """Check the configuration, bind its listeners and return the daemon, not started.

    Ends the process with status 78 and every problem on stderr, or with status 1 and what cannot
    be bound.
    """
    # The default action would end the process if a reload is asked for before the daemon handles
    # signals.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _open_standard_descriptors()
    # Before the configuration is checked: what is handed over counts as bound.
    handover = _handover()
    # Before anything is started, which would inherit the variables.
    notifications = Notifications.of(os.environ, os.getpid())
    passed = received_from_manager(os.environ, initial_environment(), os.getpid())
    held = Listeners([*(handover.listeners if handover is not None else ()), *passed.listeners])
    configuration = _checked(options, held)
    if options["check"]:
        for note in configuration.notes:
            print(f"note: {note}", file=sys.stderr)
        print(f"{configuration.file}: ok ({len(configuration.services)} services)")
        sys.exit(ExitStatus.OK)
    log_location = _log_location(options.parent or {})
    daemon_log = _log(log_location, configuration.log)
    try:
        listeners = bind_all(configuration.services, held)
        admin_listeners = bind_admin(configuration, held)
    except CannotBind as error:
        _exit(ExitStatus.FAILURE, f"netd: {error}")
    _close_unused(passed, Listeners([*listeners, *admin_listeners]))
    # Imported last: that installs the reactor, which the problems above do not need.
    from twisted.internet import reactor as installed

    # Twisted types the module as itself, though it becomes the reactor.
    reactor = cast(InstalledReactor, installed)
    reread = _reread(options, configuration)
    # Absolute, because a daemon changes its directory.
    configuration = replace(configuration, file=os.path.abspath(configuration.file))

    def recheck(other: str | None) -> Deferred[Configuration]:
        # Of the generation that serves now: a reload may have closed one.
        still_passed = [one for one in daemon.generations.current.listeners if one.is_passed]
        check = partial(_checked_again, reread, owner_of(options), still_passed, other)
        return run_in_thread(reactor, check)

    tools = DaemonTools(
        reactor,
        ForkSpawner(reactor),
        daemon_log,
        log_location,
        recheck,
        CommandLine.of_this_process(options.parent or {}, notifications.variables()),
        notifications,
    )
    predecessor = Predecessor(handover, reactor) if handover is not None else None
    daemon = Daemon(configuration, listeners, tools, predecessor)
    AdminEndpoint(daemon, admin_listeners, reactor).setServiceParent(daemon)
    return daemon


def _checked_again(
    reread: Callable[[], Configuration],
    owner: Owner,
    passed: Iterable[Listener],
    other: str | None,
) -> Configuration:
    """Read and check the configuration of a running daemon, or another one for it.

    Raises ConfigurationError.
    """
    loaded = with_passed(reread() if other is None else load(other), passed)
    configuration = check_loaded(loaded, owner)
    check_rights(configuration, owner)
    return configuration


def owner_of(options: Options) -> Owner:
    """The user and the group that twistd switches to (``--uid``, ``--gid``)."""
    twistd: Mapping[str, Any] = options.parent or {}
    return Owner(twistd.get("uid"), twistd.get("gid"))


def _handover() -> Handover | None:
    """The handover of a daemon that this one replaces, if there is one."""
    try:
        return received(os.environ)
    except ValueError as error:
        _exit(ExitStatus.FAILURE, f"netd: {error}")


def _close_unused(passed: Passed, used: Listeners) -> None:
    """Log and close the sockets of the service manager's that no service listens on."""
    for why in passed.refused:
        log.warn("passed by the service manager: {why}", why=why)
    unused = passed.listeners.without(used)
    for listener in unused:
        log.warn(
            "passed by the service manager, but no service listens on {address}: {bound} is closed",
            address=str(listener.address),
            bound=listener.bound,
        )
    unused.close()


def _open_standard_descriptors() -> None:
    """Open 0, 1 and 2 if they are closed: a socket with such a number would get stray output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)


def _checked(options: Options, passed: Listeners) -> Configuration:
    owner = owner_of(options)
    try:
        configuration = check_loaded(with_passed(_configuration(options), passed), owner)
        # A check may be made by another user than the one that runs netd, and changes no file.
        if not options["check"]:
            check_rights(configuration, owner)
            configuration = with_certificates(configuration, owner)
    except ConfigurationError as error:
        _exit(ExitStatus.CONFIG, str(error))
    return configuration


def _configuration(options: Options) -> Configuration:
    if options.without_file:
        return command_line.configuration(options["handler"], options["listen"], os.getcwd())
    file = options["config"] or default_file()
    if file is None:
        _exit(ExitStatus.CONFIG, f"netd: {NONE_THERE}; use --config FILE")
    return load(file)


def _reread(options: Options, configuration: Configuration) -> Callable[[], Configuration]:
    """Return a function that reads the *configuration* again, from any working directory."""
    if options.without_file:
        return partial(
            command_line.configuration, options["handler"], options["listen"], os.getcwd()
        )
    return partial(load, os.path.abspath(configuration.file))


def _log_location(twistd: Mapping[str, Any]) -> LogLocation:
    stream = sys.stdout or sys.stderr
    location = LogLocation(twistd, os.getcwd(), None if stream is None else stream.fileno())
    if location.is_impossible:
        _exit(ExitStatus.USAGE, "netd: a daemon cannot log to stdout; use --logfile FILE")
    return location


def _log(location: LogLocation, configured: LogSettings) -> Log:
    """Open the log. Warn if twistd's options overrule ``[log]``."""
    overruled = location.overruled(configured)
    if overruled is not None:
        log.warn("nothing is logged to {place}: twistd was told where to log", place=overruled)
    if location.is_twistds:
        return RelayedLog()
    try:
        return DaemonLog(location.open(configured), location.form(configured), configured.level)
    except OSError as error:
        _exit(ExitStatus.FAILURE, f"netd: {cannot_log(error)}")


def _exit(status: ExitStatus, message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(status)
