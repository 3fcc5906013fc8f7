"""TLS on the connections of handlers that may wait: the standard library's sockets (``ssl``).

The handshake is done without waiting, a step for each time that the client has sent something; so
what is here never blocks, but for the handshake of a process that has one client
(``whole_handshake``).
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from netd.model.peer import PeerCertificate

NO_SESSION: Final = "the connection had ended before the handshake"


class TlsSocket(ssl.SSLSocket):
    """What handlers get: an ``ssl.SSLSocket`` that knows whether its stream was cut off.

    A stream that ends without TLS's own end (RFC 8446, 6.1) may have been cut on its way.
    """

    is_truncated = False
    asked_name: str | None = None
    """The server name that the client has asked for (RFC 6066), where that is remembered."""
    suppress_ragged_eofs: bool
    _sslobj: Any
    """The session; ``ssl.SSLSocket`` has it under this name since there is one."""

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Read as ``ssl.SSLSocket`` does; an end that is none counts, suppressed or not."""
        session = self._sslobj
        if session is None:
            return super().read(len, buffer)  # which raises
        try:
            return session.read(len) if buffer is None else session.read(len, buffer)
        except ssl.SSLError as error:
            if not _is_unexpected_end(error):
                raise
            self.is_truncated = True
            if not self.suppress_ragged_eofs:
                raise
            return b"" if buffer is None else 0


def _is_unexpected_end(error: BaseException) -> bool:
    """Whether a stream ended without TLS's end; not every Python 3.11 has a class for that."""
    return isinstance(error, ssl.SSLError) and (
        isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING"
    )


class Handshakes:
    """What the handshakes of one listener have in common. Any thread.

    *context* is theirs alone. *certificate_of* reads a certificate that was verified, in DER; None
    where clients are not asked for one.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        suppress_ragged_eofs: bool,
        certificate_of: Callable[[bytes], PeerCertificate] | None,
    ) -> None:
        context.sslsocket_class = TlsSocket
        self._context = context
        self._suppress_ragged_eofs = suppress_ragged_eofs
        self._certificate_of = certificate_of

    def begin(self, connection: socket.socket) -> TlsSocket:
        """Take over a connection, whose timeout stays; nothing is sent or received.

        Raises OSError or ValueError, with the connection closed.
        """
        wrapped = self._context.wrap_socket(
            connection,
            server_side=True,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=self._suppress_ragged_eofs,
        )
        assert isinstance(wrapped, TlsSocket)
        return wrapped

    def go_on(self, connection: TlsSocket) -> PeerCertificate | None:
        """Go on with the handshake; when it is done, return the client's certificate, if any.

        Raises ssl.SSLWantReadError and ssl.SSLWantWriteError where the connection does not wait and
        there is more to do, other OSErrors and ValueError where it has failed.
        """
        connection.do_handshake()
        # What was sent before a connection ended, and instead of a handshake, must not be taken for
        # what came through it (CVE-2023-40217).
        if connection.version() is None:
            raise ValueError(NO_SESSION)
        if self._certificate_of is None:
            return None
        certificate = connection.getpeercert(binary_form=True)
        return None if certificate is None else self._certificate_of(certificate)

    def whole(
        self, connection: socket.socket, until: float
    ) -> tuple[TlsSocket, PeerCertificate | None]:
        """Do all of it, and wait for the client until *until* (``time.monotonic``).

        Takes over the connection, which waits again afterwards. Raises OSError or ValueError, with
        it closed; TimeoutError when it is too late.
        """
        wrapped = self.begin(connection)
        return wrapped, self.finish(wrapped, until)

    def finish(self, connection: TlsSocket, until: float) -> PeerCertificate | None:
        """Do the handshake of a connection that ``begin`` has returned, as ``whole`` does."""
        connection.setblocking(False)
        try:
            certificate = self._wait_through(connection, until)
        except BaseException:
            connection.close()
            raise
        connection.settimeout(socket.getdefaulttimeout())
        return certificate

    def _wait_through(self, connection: TlsSocket, until: float) -> PeerCertificate | None:
        poll = select.poll()
        while True:
            try:
                return self.go_on(connection)
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            poll.register(connection, events)
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise TimeoutError


def remember_name(connection: ssl.SSLSocket | ssl.SSLObject, asked: str | None) -> None:
    """Keep the server name that a client asks for in its handshake. Raises nothing."""
    if isinstance(connection, TlsSocket):
        connection.asked_name = asked


def failure_text(error: BaseException) -> str:
    """Why a handshake has failed, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ConnectionError) or _is_unexpected_end(error):
        return "the client has gone"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)


def end_stream(request: Any) -> None:
    """Say that nothing more comes, without waiting for the same from the client.

    Without it a client cannot tell the end from a cut (RFC 8446, 6.1). Raises nothing.
    """
    if isinstance(request, ssl.SSLSocket):
        with suppress(OSError, ValueError):
            request.settimeout(0)
            request.unwrap()
