"""Requests that a server class accepts by its own ``get_request()``."""

from __future__ import annotations

import errno
import select
import socket
import ssl
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any, Final, NoReturn

from netd.accept.errors import EXHAUSTED
from netd.accept.refusal import PROXY_HEADER, Refusal
from netd.execution.request import Refused, Request, TooLong
from netd.execution.sources.stream import peer_of
from netd.execution.tracebacks import user_traceback
from netd.listening.handler_view import NoHeader, TooLarge, accepting
from netd.model.address import Transport, client_text
from netd.proxy.datagrams import Proxied, text_of

IN_A_ROW: Final = 16
"""Failures without a request between them, after which accepting pauses. ``get_request()`` may fail
without accepting, and netd would call it again immediately, without end."""

Say = Callable[[str, str], None]
"""Given a level and a text for the log, from any thread."""


class GetRequestSource:
    """Accepts by *server*'s ``get_request()``, which may do a handshake with its client.

    *listener* is the service's own socket, and watched. What the override raises costs its own
    client only: an OSError is a client that was lost, as it is to ``socketserver``, and anything
    else, which would end ``serve_forever``, is logged.
    """

    def __init__(
        self, server: BaseServer, listener: socket.socket, transport: Transport, say: Say
    ) -> None:
        self.transport = transport
        # A datagram that one thread is about to receive is reported to no other thread: the
        # socket blocks, and the second thread would wait for the next datagram.
        self.may_block = not transport.is_datagram
        self.fileno = listener.fileno
        self._server = server
        self._listener = listener
        self._say = say
        self._text = client_text(transport)
        self._failures = 0

    def next_request(self) -> Request:
        """Accept one request. Raises BlockingIOError if there was none, or its client was lost.

        Raises TooLong where UDPServer's own ``get_request`` would have cut a datagram.
        """
        if self.transport.is_datagram:
            # Another process may have been faster, and the override cannot be told that.
            self._listener.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        with accepting():
            request, address = self._get()
        peer = None if isinstance(address, Proxied) else peer_of(request)
        return Request(request, address, self._shown(address), peer)

    def _shown(self, address: Any) -> str:
        """Write an address, or whatever the override returned as one, for people."""
        try:
            return text_of(address) if isinstance(address, Proxied) else self._text(address)
        except Exception:
            return _shown(lambda it: f"{it!r:.60}", address)

    def _get(self) -> tuple[Any, Any]:
        try:
            request = self._server.get_request()
        except BlockingIOError:
            if self._client_waits():  # the override has not accepted it
                self._count_failure()
            raise
        except TooLarge as error:
            raise TooLong(self._shown(error.sender), error.limit) from None
        except NoHeader as error:
            nothing = Request((b"", self._listener), error.sender, self._shown(error.sender), None)
            raise Refused(nothing, Refusal(PROXY_HEADER, error.reason)) from None
        except OSError as error:
            if error.errno in EXHAUSTED and not isinstance(error, ssl.SSLError):
                # Not the user's own error: to show that may run user code.
                text = _shown(lambda it: str(it.strerror), error)
                raise OSError(error.errno, text) from None
            text = _shown(str, error)
            self._failed("info", f"a client was lost in get_request(): {text}")
        except BaseException as error:
            self._failed("error", f"get_request() raised\n{user_traceback(error)}")
        else:
            self._failures = 0
            return request

    def _failed(self, level: str, text: str) -> NoReturn:
        """Log it, and go on with the next client, perhaps after a pause."""
        self._say(level, text)
        self._count_failure()
        raise BlockingIOError(errno.EAGAIN, "no request")

    def _count_failure(self) -> None:
        self._failures += 1
        if self._failures % IN_A_ROW == 0:
            raise OSError(f"get_request() has failed {self._failures} times in a row")

    def _client_waits(self) -> bool:
        queue = select.poll()
        queue.register(self._listener, select.POLLIN)
        return bool(queue.poll(0))


def _shown(show: Callable[[Any], str], thing: object) -> str:
    """What *show* makes of a user's *thing*, by code of the user's; its type where that raises."""
    try:
        return show(thing)
    except BaseException:  # SystemExit, too: it must not end the accept loop
        return type(thing).__name__
