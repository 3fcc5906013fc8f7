"""The admin socket: where it is bound, and when the daemon answers on it."""

from __future__ import annotations

from typing import Final

from twisted.application.service import Service as TwistedService
from twisted.logger import Logger

from netd.admin.api import site
from netd.admin.commands import DaemonCommands
from netd.admin.listener import AdminListener
from netd.config.admin import usual_socket
from netd.core.reactor import ProcessReactor
from netd.daemon.daemon import Daemon
from netd.listening.binding import bind_all
from netd.listening.listener import CannotBind, Listeners
from netd.model.address import Transport, UnixAddress
from netd.model.service import Configuration, Program, Service

log = Logger()

NAME: Final = "admin"

MODE: Final = 0o600
"""The socket's mode: a process that can connect can stop the daemon and see its clients."""


def bind_admin(configuration: Configuration, held: Listeners) -> Listeners:
    """Bind the admin socket, or take it over from *held*; the caller closes it.

    Raises CannotBind if the configuration names the socket. If the usual one is in use by another
    daemon or out of reach, this daemon has none and logs that.
    """
    if configuration.admin_socket is not None:
        return _bind(configuration.admin_socket, held)
    try:
        return _bind(usual_socket(configuration.file), held)
    except CannotBind as error:
        text = "no admin socket ({error}): name one by [admin] socket, or netdctl cannot connect"
        log.warn(text, error=error.reason)
        return Listeners()


def _bind(path: str, held: Listeners) -> Listeners:
    # As a service's listener, so that an upgrade passes it on like all others.
    address = UnixAddress(Transport.UNIX, path, mode=MODE)
    nothing = Program("", (NAME,))
    return bind_all([Service(NAME, (address,), nothing, NAME)], held)


class AdminEndpoint(TwistedService):
    """Answers on *listeners* until the daemon has stopped, also while handlers finish.

    During an upgrade two daemons have the socket. Only the one that serves answers.
    """

    def __init__(self, daemon: Daemon, listeners: Listeners, reactor: ProcessReactor) -> None:
        self.setName(NAME)
        self._generations = daemon.generations
        self._bound = listeners
        commands = DaemonCommands(daemon, reactor)
        self._listeners = [
            AdminListener(one.socket, site(commands, reactor), reactor) for one in listeners
        ]
        daemon.generations.passed_on += listeners
        daemon.at_start(self._open)
        daemon.generations.when_replaced(self._shut)
        # At the end and not at the stop: netdctl waits here for handlers to finish.
        daemon.at_end(self._close)

    def startService(self) -> None:
        super().startService()
        # With a predecessor, only when this daemon is ready, by the call above.
        if not len(self._generations.shared):
            self._open()

    def _open(self) -> None:
        for listener in self._listeners:
            listener.open()

    def _shut(self) -> None:
        for listener in self._listeners:
            listener.close()

    def _close(self) -> None:
        """Stop answering, and remove the socket unless another daemon has it."""
        # A socket that both daemons have is the other one's path by now.
        self._shut()
        self._bound.without(self._generations.shared).close()
