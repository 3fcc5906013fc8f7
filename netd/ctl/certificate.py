"""Fetches the certificate of a TLS service, without trusting it."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from netd.ctl.presented import Presented
from netd.tls.openssl_private import verification_error
from netd.tls.peer import ShownCertificate

TIMEOUT: Final = 10.0
"""Default: seconds for the connection and the handshake together."""

LINGER: Final = 0.25
"""Seconds that the service may still send after ``close_notify``. A handler that is just sending a
banner would otherwise fail, and its service log an error for each certificate that is fetched."""

_MOST: Final = 1 << 16
"""Bytes received at once."""

_INET: Final = re.compile(r"(\[(?P<bracketed>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})")


class CannotAsk(Exception):
    """The service presents no certificate; the text says why."""


@dataclass(frozen=True)
class Endpoint:
    """Where a service listens: a host and a port, or the path of a Unix socket."""

    host: str | None
    port: int = 0
    path: str = ""

    @classmethod
    def of(cls, text: str) -> Endpoint:
        """Read ``HOST:PORT``, ``[::1]:PORT``, ``unix:PATH``, ``unix:@NAME``. Raises ValueError."""
        if text.startswith("unix:") and len(text) > len("unix:"):
            return cls(None, path=text.removeprefix("unix:"))
        match = _INET.fullmatch(text)
        if match is None or not 0 < int(match["port"]) <= 65535:
            raise ValueError(f"{text!r} is not HOST:PORT, [IPV6]:PORT or unix:PATH")
        return cls(match["bracketed"] or match["host"], int(match["port"]))

    def connect(self, seconds: float) -> socket.socket:
        """Return a connection, within *seconds*. Raises OSError."""
        if self.host is not None:
            return socket.create_connection((self.host, self.port), seconds)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(seconds)
            connection.connect(f"\0{self.path[1:]}" if self.path[0] == "@" else self.path)
        except BaseException:
            connection.close()
            raise
        return connection


@dataclass(frozen=True)
class Answer:
    """What a service has presented, and the certificate itself."""

    presented: Presented
    certificate: x509.Certificate

    def pem(self) -> bytes:
        """Return the certificate in PEM (RFC 7468)."""
        return self.certificate.public_bytes(Encoding.PEM)

    def der(self) -> bytes:
        """Return the certificate in DER (X.690), as the service sent it."""
        return self.certificate.public_bytes(Encoding.DER)


def ask(
    endpoint: Endpoint, name: str | None = None, ca: str | None = None, seconds: float = TIMEOUT
) -> Answer:
    """Do a handshake with the service at *endpoint*, and return what it presents.

    The expected name is *name*, by default the host of *endpoint*. The trusted authorities are
    those in the file *ca*, by default those of this machine. Blocks for at most *seconds*. Raises
    CannotAsk.
    """
    name = endpoint.host if name is None else name
    until = time.monotonic() + seconds
    handshake = _Handshake(_context(ca), name)
    try:
        with endpoint.connect(seconds) as connection:
            refusal = handshake.through(connection, until)
            handshake.take_leave(connection)
    except TimeoutError:
        raise CannotAsk(f"no answer within {seconds:g} s") from None
    except OSError as error:
        raise CannotAsk(error.strerror or str(error)) from error
    return handshake.answer(refusal)


def _context(ca: str | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if ca is None:
        context.set_default_verify_paths()
        return context
    try:
        context.load_verify_locations(ca)
    except SSL.Error as error:
        raise CannotAsk(f"{ca} has no readable certificates: it must be PEM") from error
    return context


class _Handshake:
    """A client's handshake that goes on with a certificate that it does not trust."""

    def __init__(self, context: SSL.Context, name: str | None) -> None:
        self._name = name
        self._distrust: str | None = None
        context.set_verify(SSL.VERIFY_PEER, self._verified)
        self._connection = SSL.Connection(context, None)
        self._connection.set_connect_state()
        if name is not None and not _is_address(name):
            self._connection.set_tlsext_host_name(_a_labels(name))

    def _verified(self, _: SSL.Connection, __: Any, error: int, ___: int, ok: int) -> bool:
        if not ok and self._distrust is None:
            self._distrust = verification_error(error)
        return True

    def through(self, connection: socket.socket, until: float) -> str | None:
        """Finish the handshake; return why the service refused it, or None.

        Raises OSError and CannotAsk.
        """
        while True:
            try:
                self._connection.do_handshake()
            except SSL.WantReadError:
                self._send(connection, until)
                data = _receive(connection, until)
                if not data:
                    return self._refused("the service closed the connection")
                self._connection.bio_write(data)
            except SSL.Error as error:
                with suppress(OSError):
                    self._send(connection, until)
                reasons = error.args[0] if error.args else []
                return self._refused(", ".join(str(each[-1]) for each in reasons))
            else:
                self._send(connection, until)
                return None

    def take_leave(self, connection: socket.socket) -> None:
        """Send ``close_notify``, and read for up to ``LINGER`` what the service still sends.

        Closing immediately would reset the connection under a handler that is sending. Raises
        nothing.
        """
        until = time.monotonic() + LINGER
        with suppress(OSError, SSL.Error):
            self._connection.shutdown()
            self._send(connection, until)
            while _receive(connection, until):
                pass

    def _refused(self, why: str) -> str:
        if self._connection.get_peer_certificate(as_cryptography=True) is None:
            raise CannotAsk(f"no certificate: {why or 'the service does not use TLS'}")
        return why

    def _send(self, connection: socket.socket, until: float) -> None:
        with suppress(SSL.WantReadError):
            while True:
                data = self._connection.bio_read(_MOST)
                connection.settimeout(_left(until))
                connection.sendall(data)

    def answer(self, refusal: str | None) -> Answer:
        """Return what the service has presented. Raises CannotAsk."""
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise CannotAsk("the service presents no certificate")
        der = certificate.public_bytes(Encoding.DER)
        try:
            shown = ShownCertificate(der)
        except ValueError as error:
            raise CannotAsk(f"its certificate cannot be read: {error}") from error
        presented = Presented(
            certificate=shown,
            fingerprint=hashlib.sha256(der).hexdigest(),
            name=self._name,
            distrust=self._distrust,
            protocol=self._connection.get_protocol_version_name(),
            cipher=self._connection.get_cipher_name(),
            refusal=refusal,
        )
        return Answer(presented, certificate)


def _receive(connection: socket.socket, until: float) -> bytes:
    connection.settimeout(_left(until))
    return connection.recv(_MOST)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _a_labels(name: str) -> bytes:
    if name.isascii():
        return name.encode()
    import idna

    try:
        return idna.encode(name, uts46=True)
    except idna.IDNAError as error:
        raise CannotAsk(f"{name} is no host name: {error}") from error
