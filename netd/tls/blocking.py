"""TLS for blocking handlers: a service's table as a context of the standard library."""

from __future__ import annotations

import errno
import fcntl
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

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

_ServerNameCallback = Callable[[_Connection, str | None, ssl.SSLContext], None]

Told = Callable[[_Connection, str | None], None]
"""Called during the handshake with the server name that the client asks for."""


def blocking_context(tls: Tls, told: Told | None = None) -> ssl.SSLContext:
    """A context that serves *tls*, with the identity for the server name that a client sends.

    It must not be changed. *told* must not raise. The process's ``sys.unraisablehook`` is replaced
    by one that ignores invalid server names. Raises ssl.SSLError for what OpenSSL refuses, which
    ``netd.config`` has tried before, and OSError if there is no memory or descriptor for it.
    """
    # OpenSSL selects an identity by changing the context of a connection, so each has its own.
    made = {tls.identity: _context(tls, tls.identity)}
    for _, identity in tls.sni:
        if identity not in made:
            made[identity] = _context(tls, identity)
    default = made[tls.identity]
    if tls.sni or told is not None:
        names = ServerNames((name, made[identity]) for name, identity in tls.sni)
        default.sni_callback = _server_name_callback(names, told)
        if not isinstance(sys.unraisablehook, _Unraisable):
            sys.unraisablehook = _Unraisable(sys.unraisablehook)
    return default


def _server_name_callback(
    names: ServerNames[ssl.SSLContext], told: Told | None
) -> _ServerNameCallback:
    def choose(connection: _Connection, asked: str | None, _default: ssl.SSLContext) -> None:
        if told is not None:
            told(connection, asked)
        found = names.find(asked)
        if found is not None:
            connection.context = found

    return choose


def _context(tls: Tls, identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A client could make the server compute by renegotiating, and compression reveals secrets by
    # the length of what is sent (RFC 7457, 2.6).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Python sets it, but then a truncated stream looks like one that has ended.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.minimum_version = _VERSIONS[tls.minimum_version]
    if tls.maximum_version is not None:
        context.maximum_version = _VERSIONS[tls.maximum_version]
    context.set_ciphers(CIPHERS)  # also sets the security level
    if tls.ciphers is not None:
        context.set_ciphers(tls.ciphers)
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    _load(context, identity)
    _ask_for_certificates(context, tls)
    return context


def _ask_for_certificates(context: ssl.SSLContext, tls: Tls) -> None:
    """Request and verify clients' certificates. OpenSSL also checks their purpose."""
    context.verify_mode = _REQUESTS[tls.client_certificate]
    if tls.client_certificate == "none":
        return
    if tls.client_ca is not None:
        # An intermediate authority in the file is trusted without the root above it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # A PEM file may contain comments beside the certificates, in any encoding.
        context.load_verify_locations(cadata=tls.client_ca.content.decode("ascii", "ignore"))
    # A resumed session is not verified again, so there are none. (``ssl`` cannot switch off the
    # cache in memory of TLS 1.2. Its sessions are valid for this context only, whose identities
    # all verify by the same rule, and ClientCertificate checks the time.)
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    with _as_file(identity.certificate) as certificate, _as_file(identity.private_key) as key:
        # No key has a password here. Without this argument OpenSSL would ask for one on a terminal.
        context.load_cert_chain(certificate, key, password=b"")


@contextmanager
def _as_file(pem: Pem) -> Iterator[str]:
    """A path of *pem*'s content, since ``ssl`` loads certificates and keys by path only.

    The process may not be allowed to open the original file, and a temporary file would put the
    key on a disk.
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
    # MFD_CLOEXEC: a program that another thread starts meanwhile must not inherit the key.
    descriptor = os.memfd_create("netd-tls", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as memory:
            memory.write(content)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _in_pipe(content: bytes) -> int:
    """The way for a service whose RLIMIT_FSIZE forbids even a file in memory of that size."""
    reading, writing = os.pipe()
    try:
        # Nothing reads yet: writing more than fits would block for ever.
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
    """``sys.unraisablehook`` that ignores server names that are not ASCII.

    ``ssl`` refuses a client that sends one, and reports a traceback that no operator can act on.
    Any client could fill the log with them.
    """

    def __init__(self, before: Callable[[sys.UnraisableHookArgs], object]) -> None:
        self._before = before

    def __call__(self, args: sys.UnraisableHookArgs) -> None:
        if args.exc_type is not UnicodeDecodeError or not isinstance(args.object, bytes):
            self._before(args)
