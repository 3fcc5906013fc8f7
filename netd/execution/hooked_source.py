"""Requests that a server class takes by its own ``get_request()``."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any

from netd.execution.serving import user_traceback
from netd.execution.sources import EXHAUSTED, Taken, client_text
from netd.values.address import Transport

Say = Callable[[str, str], None]
"""Given a level and a text for the log, from any thread."""


class HookedSource:
    """Takes by *server*'s ``get_request()``, which may do a handshake with its client.

    *listener* is the service's own socket, and watched. What the override raises costs its own
    client only: an OSError is a client that was lost, as it is to ``socketserver``, and anything
    else, which would end ``serve_forever``, is logged.
    """

    def __init__(
        self, server: BaseServer, listener: socket.socket, transport: Transport, say: Say
    ) -> None:
        self.transport = transport
        # A datagram that another thread is about to receive is reported to nobody else: the
        # socket blocks, and who came second would wait for the next datagram.
        self.may_block = not transport.is_datagram
        self.fileno = listener.fileno
        self._server = server
        self._listener = listener
        self._say = say
        self._text = client_text(transport)

    def take(self) -> Taken:
        """Take one request. Raises BlockingIOError when there was none, or its client was lost."""
        if self.transport.is_datagram:
            # Another process may have been faster.
            self._listener.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        request, address = self._get()
        return Taken(request, address, self._text(address), None)

    def _get(self) -> tuple[Any, Any]:
        try:
            return self._server.get_request()
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno in EXHAUSTED and not isinstance(error, ssl.SSLError):
                raise
            self._say("info", f"a client was lost in get_request(): {error}")
        except BaseException as error:
            self._say("error", f"get_request() raised\n{user_traceback(error)}")
        raise BlockingIOError(errno.EAGAIN, "no request")
