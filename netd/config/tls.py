"""Reads the ``[tls]`` of a service and its files, and reports everything that is wrong.

A certificate that has expired is a note, not a problem: clients refuse it, but an unrelated reload
must still succeed.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from netd.config.schema import TlsTable
from netd.config.text import quoted, shown
from netd.model.tls import Identity, Pem, Tls
from netd.tls import pem, self_signed, validity
from netd.tls.blocking import blocking_context
from netd.tls.names import WILDCARD, canonical
from netd.tls.peer import ShownCertificate
from netd.tls.reactor import reactor_context

Keys = tuple[str, ...]
"""The path of a key in the table: ``("sni", "host.example", "certificate")``."""

_CERTIFICATE: Final = "certificate"
_PRIVATE_KEY: Final = "private_key"
_SELF_SIGNED: Final = "self_signed"

_T = TypeVar("_T")

LARGEST: Final = 16 << 20
"""Most bytes of a file. A bundle of all public authorities has a fifth of a mebibyte."""


class TlsSource(Protocol):
    """Where ``[tls]`` is written. ``problem`` and ``note`` report with file and line."""

    def path(self, keys: Keys, text: str) -> str:
        """Return the absolute path that *text*, the value at *keys*, means."""
        ...

    def problem(self, keys: Keys, message: str) -> None:
        """Report a problem with the value at *keys*."""
        ...

    def note(self, keys: Keys, message: str) -> None:
        """Report a note about the value at *keys*."""
        ...


class TlsReading:
    """Reads one *table*, written at *source*; certificates must be valid at the time *now*."""

    def __init__(self, table: TlsTable, source: TlsSource, now: datetime) -> None:
        self._table = table
        self._source = source
        self._now = now
        self._has_problem = False

    def tls(self) -> Tls | None:
        """Return the frozen table; None if it names no certificate, or has a problem."""
        table = self._table
        self._check_versions()
        ciphers = self._ciphers()
        identity = self._own()
        sni = tuple(self._sni())
        client_ca = self._client_ca()
        if identity is None:
            if table.sni and not self._has_problem:
                self._problem((_CERTIFICATE,), "is required beside sni, for all other names")
            return None
        if self._has_problem:
            return None
        tls = Tls(
            identity=identity,
            sni=sni,
            client_certificate=table.client_certificate,
            client_ca=client_ca,
            minimum_version=table.minimum_version,
            maximum_version=table.maximum_version,
            ciphers=ciphers,
            alpn=tuple(table.alpn),
            handshake_timeout=table.handshake_timeout,
            suppress_ragged_eofs=table.suppress_ragged_eofs,
        )
        self._try(tls)
        return None if self._has_problem else tls

    # Values that need no file.

    def _check_versions(self) -> None:
        least, most = self._table.minimum_version, self._table.maximum_version
        if most is not None and most < least:
            text = f"is {quoted(most)}, which is below minimum_version, {quoted(least)}"
            self._problem(("maximum_version",), text)

    def _ciphers(self) -> str | None:
        """Return the ciphers. Both the standard library's OpenSSL and pyOpenSSL's must know one."""
        ciphers = self._table.ciphers
        if ciphers is None:
            return None
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(ciphers)
            SSL.Context(SSL.TLS_SERVER_METHOD).set_cipher_list(ciphers.encode())
        except (ssl.SSLError, SSL.Error, ValueError):
            text = f"{shown(ciphers)} selects no cipher of TLS 1.2: see openssl-ciphers(1)"
            self._problem(("ciphers",), text)
        return ciphers

    # Identities.

    def _own(self) -> Identity | None:
        table = self._table
        if table.self_signed is not None:
            for key in (_CERTIFICATE, _PRIVATE_KEY):
                if getattr(table, key) is not None:
                    text = f"stands beside {key}: leave out one of the two"
                    self._problem((_SELF_SIGNED,), text)
                    return None
            return self._self_signed(table.self_signed)
        if table.certificate is None:
            if table.private_key is not None:
                self._problem((_PRIVATE_KEY,), "has no effect without certificate")
            return None
        return self._identity((), table.certificate, table.private_key)

    def _sni(self) -> Iterator[tuple[str, Identity]]:
        names: dict[str, str] = {}
        for written, table in self._table.sni.items():
            keys = ("sni", written)
            try:
                name = canonical(written)
            except ValueError as error:
                self._problem(keys, f"{shown(written)} {error}")
                continue
            if name in names:
                text = f"is the same name as {quoted(names[name])}: one of them is enough"
                self._problem(keys, text)
                continue
            names[name] = written
            identity = self._identity(keys, table.certificate, table.private_key)
            if identity is not None:
                self._note_name((*keys, _CERTIFICATE), identity, name)
                yield name, identity

    def _identity(self, keys: Keys, certificate: str, private_key: str | None) -> Identity | None:
        """Read certificate and key from two files, or one; None if they have a problem."""
        at_certificate = (*keys, _CERTIFICATE)
        at_key = at_certificate if private_key is None else (*keys, _PRIVATE_KEY)
        chain = self._read(at_certificate, certificate)
        key = chain if private_key is None else self._read(at_key, private_key)
        if chain is None or key is None:
            return None
        own = self._parsed(at_certificate, chain, pem.certificates)
        if own is None and key is chain:
            return None
        signing = self._parsed(at_key, key, pem.private_key)
        if own is None or signing is None:
            return None
        if signing.public_key() != own[0].public_key():
            text = f"the key in {key.path} is not that of the certificate in {chain.path}"
            self._problem(at_key, text)
            return None
        self._judge(at_certificate, chain.path, own[0])
        return Identity(chain, key)

    def _self_signed(self, text: str) -> Identity | None:
        """Read a file that netd creates. It may be missing: ``check`` must not create it."""
        keys = (_SELF_SIGNED,)
        path = self._source.path(keys, text)
        missing = Pem(path, b"")
        if not os.path.lexists(path):
            return Identity(missing, missing, self_signed=True)
        found = self._read(keys, text)
        if found is None:
            return None
        try:
            if self_signed.needs_making(found.content, self._now):
                found = missing
        except self_signed.NotOurs as error:
            self._problem(keys, f"{path} {error}: remove it, or name it in certificate")
            return None
        if found.content:
            own = pem.certificates(found.content)[0]
            self._note_end(keys, path, own, "; a reload after that makes a new one")
        return Identity(found, found, self_signed=True)

    def _judge(self, keys: Keys, path: str, certificate: x509.Certificate) -> None:
        """Report a *certificate* that is not valid yet; note one that has expired or soon will."""
        begin = certificate.not_valid_before_utc
        if begin > self._now:
            self._problem(keys, f"{path} is not valid before {begin:%Y-%m-%d %H:%M} UTC")
        self._note_end(keys, path, certificate)

    def _note_end(
        self, keys: Keys, path: str, certificate: x509.Certificate, more: str = ""
    ) -> None:
        remark = validity.remark(certificate.not_valid_after_utc, self._now)
        if remark is not None:
            self._source.note(keys, f"{path} {remark}{more}")

    def _note_name(self, keys: Keys, identity: Identity, name: str) -> None:
        """Note a certificate that is not for the server *name* that selects it."""
        shown = pem.certificates(identity.certificate.content)[0].public_bytes(Encoding.DER)
        # A wildcard stands for any label, so any one serves for the question.
        asked = f"www.{name.removeprefix(WILDCARD)}" if name.startswith(WILDCARD) else name
        try:
            is_for = ShownCertificate(shown).is_for(asked)
        except ValueError as error:
            self._problem(keys, f"{identity.certificate.path}: {error}")
            return
        if not is_for:
            self._source.note(keys, f"{identity.certificate.path} is not for {name}")

    # Certificates of clients.

    def _client_ca(self) -> Pem | None:
        table = self._table
        keys = ("client_ca",)
        if table.client_ca is None:
            if table.client_certificate != "none":
                text = (
                    f"{quoted(table.client_certificate)} needs client_ca: the certificates of the "
                    "authorities that issue those of clients"
                )
                self._problem(("client_certificate",), text)
            return None
        if "client_certificate" not in table.model_fields_set:
            text = 'has no effect without client_certificate = "optional" or "required"'
            self._problem(keys, text)
        found = self._read(keys, table.client_ca)
        authorities = None if found is None else self._parsed(keys, found, pem.certificates)
        if found is None or authorities is None:
            return None
        for authority in authorities:
            self._note_end(keys, found.path, authority)
        return found

    # Files.

    def _read(self, keys: Keys, text: str) -> Pem | None:
        path = self._source.path(keys, text)
        try:
            if os.path.exists(path) and not os.path.isfile(path):
                raise OSError(0, "it is not a file")
            with open(path, "rb") as file:
                content = file.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise OSError(
                    0, f"it is longer than {LARGEST >> 20} MiB, so it is not a file of certificates"
                )
        except OSError as error:
            self._problem(keys, f"cannot read {path}: {error.strerror}")
            return None
        return Pem(path, content)

    def _parsed(self, keys: Keys, file: Pem, parse: Callable[[bytes], _T]) -> _T | None:
        try:
            return parse(file.content)
        except pem.NotPem as error:
            hint = ""
            if parse is pem.private_key and keys[-1] == _CERTIFICATE:
                hint = ": name the file that has it in private_key"
            self._problem(keys, f"{file.path} {error}{hint}")
            return None

    # OpenSSL.

    def _try(self, tls: Tls) -> None:
        """Report each identity that OpenSSL refuses: it has rules about keys and signatures.

        Each alone, because an error of a context with all of them does not say which one it is.
        """
        keys = [(), *(("sni", written) for written in self._table.sni)]
        for at, identity in zip(keys, tls.identities, strict=True):
            if identity.is_missing:
                continue
            alone = replace(tls, identity=identity, sni=())
            key = _SELF_SIGNED if identity.self_signed else _CERTIFICATE
            try:
                blocking_context(alone)
                reactor_context(alone)
            except ssl.SSLError as error:
                self._refused((*at, key), identity, (error.reason or str(error)).lower())
            except SSL.Error as error:
                reasons = [str(each[-1]) for each in (error.args[0] if error.args else [])]
                self._refused((*at, key), identity, ", ".join(reasons))
            except OSError as error:
                self._refused((*at, key), identity, str(error))

    def _refused(self, keys: Keys, identity: Identity, why: str) -> None:
        reason = why.replace("_", " ") or "it gives no reason"
        self._problem(keys, f"OpenSSL refuses {identity.certificate.path}: {reason}")

    def _problem(self, keys: Keys, message: str) -> None:
        self._has_problem = True
        self._source.problem(keys, message)
