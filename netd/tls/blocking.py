"""TLS for blocking handlers: a service's table as a context of the standard library's."""

from __future__ import annotations

import errno
import fcntl
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from netd.model.tls import ClientCertificate, Identity, Pem, Tls, Version
from netd.tls.names import ServerNames
from netd.tls.offer import CIPHERS

_VERSIONS: Final[dict[Version, ssl.TLSVersion]] = {
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}

_REQUESTS: Final[dict[ClientCertificate, ssl.VerifyMode]] = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}

_Connection = ssl.SSLSocket | ssl.SSLObject

_Choice = Callable[[_Connection, str | None, ssl.SSLContext], None]

Told = Callable[[_Connection, str | None], None]
"""Is told, in the handshake, which server name the client of a connection asks for."""


def blocking_context(tls: Tls, told: Told | None = None) -> ssl.SSLContext:
    """A context that serves *tls*, with the identity that a client asks for by name.

    Neither it nor those of the other identities may be changed: what has changed gets a new one.
    *told* must not raise. No file is opened. The process says nothing more of server names that
    are no ASCII. Raises ssl.SSLError for what OpenSSL does not take, which ``netd.config`` has
    tried before, and OSError when there is no memory or descriptor for it.
    """
    made = {tls.identity: _context(tls, tls.identity)}
    for _, identity in tls.sni:
        if identity not in made:
            made[identity] = _context(tls, identity)
    default = made[tls.identity]
    if tls.sni or told is not None:
        names = ServerNames((name, made[identity]) for name, identity in tls.sni)
        default.sni_callback = _choice(names, told)
        if not isinstance(sys.unraisablehook, _Unraisable):
            sys.unraisablehook = _Unraisable(sys.unraisablehook)
    return default


def _choice(names: ServerNames[ssl.SSLContext], told: Told | None) -> _Choice:
    def choose(connection: _Connection, asked: str | None, _default: ssl.SSLContext) -> None:
        if told is not None:
            told(connection, asked)
        found = names.find(asked)
        if found is not None:
            connection.context = found

    return choose


def _context(tls: Tls, identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Python sets it, and a stream that was cut off would look like one that has ended.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.minimum_version = _VERSIONS[tls.minimum_version]
    if tls.maximum_version is not None:
        context.maximum_version = _VERSIONS[tls.maximum_version]
    context.set_ciphers(CIPHERS)  # sets the security level, too
    if tls.ciphers is not None:
        context.set_ciphers(tls.ciphers)
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    _load(context, identity)
    _ask_for_certificates(context, tls)
    return context


def _ask_for_certificates(context: ssl.SSLContext, tls: Tls) -> None:
    """See to the certificates of clients; their purpose is OpenSSL's to check, as a server."""
    context.verify_mode = _REQUESTS[tls.client_certificate]
    if tls.client_certificate == "none":
        return
    if tls.client_ca is not None:
        # Whoever is named may have issued certificates, also one that is not at the top.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # Beside the certificates there may be names in any script.
        context.load_verify_locations(cadata=tls.client_ca.content.decode("ascii", "ignore"))
    # A session remembers that its client was verified, so each connection begins anew. (What TLS
    # 1.2 keeps in memory cannot be switched off here. It is good for this context alone, whose
    # identities all verify by the same rule, and ClientCertificate looks at the time.)
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    with _as_file(identity.certificate) as certificate, _as_file(identity.private_key) as key:
        # No key has a password here; without one OpenSSL would ask a terminal for it.
        context.load_cert_chain(certificate, key, password=b"")


@contextmanager
def _as_file(pem: Pem) -> Iterator[str]:
    """A path at which there is what was read of a file that this process may not open.

    OpenSSL takes certificates by path only, as far as ``ssl`` shows it.
    """
    try:
        descriptor = _in_memory(pem.content)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        descriptor = _in_pipe(pem.content)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _in_memory(content: bytes) -> int:
    descriptor = os.memfd_create("netd-tls", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as memory:
            memory.write(content)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _in_pipe(content: bytes) -> int:
    """For a service that may write no file so long (RLIMIT_FSIZE), not even one in memory."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        if len(content) > fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, len(content))
        if os.write(writing, content) < len(content):
            raise OSError(errno.EFBIG, "a pipe has no room for a file with certificates")
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return reading


class _Unraisable:
    """``sys.unraisablehook`` that is silent of server names that are no ASCII.

    ``ssl`` refuses a client that sends one, and says so with a traceback that nobody can act on;
    with it, any client could fill the log.
    """

    def __init__(self, before: Callable[[sys.UnraisableHookArgs], Any]) -> None:
        self._before = before

    def __call__(self, told: sys.UnraisableHookArgs) -> None:
        if told.exc_type is not UnicodeDecodeError or not isinstance(told.object, bytes):
            self._before(told)
