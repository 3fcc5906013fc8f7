"""The admin socket as a service of the daemon's."""

from __future__ import annotations

from typing import Any, Final

from twisted.application.service import Service
from twisted.logger import Logger

from netd.admin.api import site
from netd.admin.commands import DaemonCommands
from netd.admin.listener import AdminListener
from netd.config.admin import usual_socket
from netd.daemon.service import Daemon
from netd.listening.binding import CannotBind, Listeners, bind_all
from netd.model.address import Transport, UnixAddress
from netd.model.service import Configuration, Program
from netd.model.service import Service as NetdService

log = Logger()

NAME: Final = "admin"

MODE: Final = 0o600
"""Of the socket: who can connect can stop the daemon, and knows who its clients are."""


def bind_admin(configuration: Configuration, held: Listeners) -> Listeners:
    """Bind the admin socket, or take it over from *held*; the caller closes it.

    Raises CannotBind, if the configuration names it. Where the usual place is taken, by another
    daemon, or out of reach, this one has none, and says so.
    """
    if configuration.admin_socket is not None:
        return _bind(configuration.admin_socket, held)
    try:
        return _bind(usual_socket(configuration.file), held)
    except CannotBind as error:
        text = "no admin socket ({error}): name one by [admin] socket, or netdctl cannot come in"
        log.warn(text, error=error.reason)
        return Listeners()


def _bind(path: str, held: Listeners) -> Listeners:
    address = UnixAddress(Transport.UNIX, path, mode=MODE)
    nothing = Program("", (NAME,))
    return bind_all([NetdService(NAME, (address,), nothing, NAME)], held)


class AdminService(Service):
    """Answers at *listeners*, until the daemon has ended: also while handlers finish.

    One of two daemons of which one takes the other's place answers: the one that serves.
    """

    def __init__(self, daemon: Daemon, listeners: Listeners, reactor: Any) -> None:
        self.setName(NAME)
        self._daemon = daemon
        self._listeners = listeners
        commands = DaemonCommands(daemon, reactor)
        self._doors = [
            AdminListener(one.socket, site(commands, reactor), reactor) for one in listeners
        ]
        daemon.handed_over += listeners
        daemon.at_start(self._open)
        daemon.when_replaced(self._shut)
        daemon.at_end(self._close)

    def startService(self) -> None:
        super().startService()
        if not len(self._daemon.shared):
            self._open()

    def _open(self) -> None:
        for door in self._doors:
            door.open()

    def _shut(self) -> None:
        """Let nobody in any more."""
        for door in self._doors:
            door.close()

    def _close(self) -> None:
        """The same, and remove the socket, unless another daemon has it."""
        self._shut()
        self._listeners.without(self._daemon.shared).close()
