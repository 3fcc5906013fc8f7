"""Socket options that connections do not inherit from their listener, set on each one."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from typing import Final

from netd.execution.interfaces import Source
from netd.execution.request import Request
from netd.listening.options.apply import CannotSet, apply
from netd.model.socket_options import SetOption

REFUSED_FOR_ALL: Final = frozenset({errno.EACCES, errno.ENOPROTOOPT, errno.EPERM})
"""The system refuses the option for every client."""

Say = Callable[[str, str], None]
"""Given a level and a text for the log, from any thread."""


class ConnectionOptions:
    """A source that accepts from another *source*, and sets *options* on its connections.

    An option that the system refuses, perhaps for lack of a capability, is then left out for all
    further connections, and the log says so once.
    """

    def __init__(self, source: Source, options: Sequence[SetOption], say: Say) -> None:
        self.transport = source.transport
        self.may_block = source.may_block
        self.fileno = source.fileno
        self._next_request = source.next_request
        self._options = tuple(options)
        self._say = say

    def next_request(self) -> Request:
        """Accept one connection. Raises what the other source raises."""
        request: Request = self._next_request()
        connection = request.raw
        if isinstance(connection, socket.socket):
            for option in self._options:
                try:
                    apply(connection, (option,))
                except CannotSet as error:
                    if error.errno in REFUSED_FOR_ALL:  # else the client has gone
                        self._leave_out(option, error)
        return request

    def _leave_out(self, option: SetOption, error: CannotSet) -> None:
        """Stop setting an option; several threads may find that out concurrently."""
        left = tuple(one for one in self._options if one.name != option.name)
        if len(left) < len(self._options):
            self._options = left
            self._say("warn", f"socket.{option.name} is not set on connections: {error.reason}")
