"""The header of the PROXY protocol, versions 1 and 2, from bytes to values; it does no I/O.

A proxy sends it before anything else, to say whose connection it hands on. Whether there is one
is never guessed from the bytes: whoever reads with this module has decided that there must be.

Source: ``doc/proxy-protocol.txt`` of HAProxy ("the specification" below).
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

LONGEST: Final = 4096
"""Bytes of the longest header that is read, as in nginx. The specification lets version 2 announce
65 551, and asks senders for at most 536."""

LONGEST_LINE: Final = 107
"""Bytes of the longest header of version 1, with its CRLF (specification, 2.1)."""

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""What version 2 begins with."""

_WORD: Final = b"PROXY "
"""What version 1 begins with."""

Tlv = tuple[int, bytes]
"""A type and its value, of what follows the addresses in version 2."""

ALPN: Final = 0x01
AUTHORITY: Final = 0x02
CRC32C: Final = 0x03
UNIQUE_ID: Final = 0x05
SSL: Final = 0x20


class InvalidHeader(ValueError):
    """What came is no header of the PROXY protocol; the message says why."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What a proxy says of the TLS that it has spoken with its client (PP2_TYPE_SSL, 2.2.6)."""

    had_certificate: bool
    """Whether the client presented one, on this connection or when its session began."""
    is_verified: bool
    """Whether it presented one that the proxy has verified."""
    version: str | None = None
    common_name: str | None = None
    cipher: str | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """A complete header.

    Addresses are in the form in which ``socketserver`` passes those of their family: a pair, four
    for IPv6, a path or an abstract name. Without them the connection is the proxy's own, or of a
    kind that it cannot name, and the real addresses count.
    """

    source: Any = None
    """The real client; None where the header does not say."""
    destination: Any = None
    """Where the client has connected to; None where the header does not say."""
    is_local: bool = False
    """Whether the proxy has connected for itself, for instance to see whether we are well."""
    tlvs: tuple[Tlv, ...] = ()

    def value(self, kind: int) -> bytes | None:
        """Return the first value of that type."""
        return next((value for found, value in self.tlvs if found == kind), None)

    @property
    def tls(self) -> ClientTls | None:
        """What the proxy says of its client's TLS; None where it says that there was none."""
        value = self.value(SSL)
        return None if value is None else _client_tls(value)


class HeaderReader:
    """Reads one header, in whatever pieces it comes."""

    __slots__ = ("_read", "header")

    def __init__(self) -> None:
        self._read = b""
        self.header: Header | None = None
        """The header, when it is complete."""

    def feed(self, data: bytes) -> int | None:
        """Read on with *data*, which follows what was given before.

        Returns how many of these bytes belong to the header, which is complete then; or None,
        where all of them do and there are more to come. Raises InvalidHeader, as soon as what is
        there cannot become a header.
        """
        before = len(self._read)
        self._read += data
        found = _header(self._read)
        if found is None:
            return None
        self.header, length = found
        self._read = b""
        return length - before


def parse_datagram(data: bytes) -> tuple[Header, bytes]:
    """Take a datagram apart that a proxy has sent on: header and payload are in the same one.

    Raises InvalidHeader.
    """
    found = _header(data)
    if found is None:
        raise InvalidHeader("the datagram ends within the header")
    header, length = found
    return header, data[length:]


def _header(data: bytes) -> tuple[Header, int] | None:
    """Return the header that *data* begins with, and its length; None while it is incomplete."""
    if data.startswith(SIGNATURE):
        return _version_2(data)
    if data.startswith(_WORD):
        return _version_1(data)
    if SIGNATURE.startswith(data) or _WORD.startswith(data):
        return None
    raise InvalidHeader("does not begin like a header of the PROXY protocol")


# Version 1: a line of text.

_ADDRESSES: Final = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
)

_FAMILIES: Final = {b"TCP4": socket.AF_INET, b"TCP6": socket.AF_INET6}


def _version_1(data: bytes) -> tuple[Header, int] | None:
    end = data.find(b"\r\n", 0, LONGEST_LINE)
    if end < 0:
        if len(data) >= LONGEST_LINE:
            raise InvalidHeader(f"version 1: no CRLF within {LONGEST_LINE} bytes")
        return None
    return _of_line(data[:end]), end + 2


def _of_line(line: bytes) -> Header:
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return Header()  # the rest is to be ignored
    match = _ADDRESSES.fullmatch(line)
    if match is None:
        raise InvalidHeader(f"version 1: {line!r} is not as the line has to be")
    word, source, destination, source_port, destination_port = match.groups()
    family = _FAMILIES[word]
    return Header(
        _address(family, _number(family, source), _port(source_port)),
        _address(family, _number(family, destination), _port(destination_port)),
    )


def _number(family: socket.AddressFamily, text: bytes) -> bytes:
    try:
        return socket.inet_pton(family, text.decode("ascii"))
    except OSError:
        version = 4 if family == socket.AF_INET else 6
        raise InvalidHeader(f"version 1: {text!r} is not an IPv{version} address") from None


def _port(text: bytes) -> int:
    port = int(text)
    if port > 65535:
        raise InvalidHeader(f"version 1: {port} is not a port")
    return port


def _address(family: socket.AddressFamily, number: bytes, port: int) -> Any:
    host = socket.inet_ntop(family, number)
    return (host, port) if family == socket.AF_INET else (host, port, 0, 0)


# Version 2: binary.

_FIXED: Final = struct.Struct("!12sBBH")
"""Signature, version and command, family and transport, length of what follows (2.2)."""

_LOCAL: Final = 0x20
_PROXY: Final = 0x21

_UNSPEC, _INET, _INET6, _UNIX = range(4)
"""Address families, the upper half of their byte; the lower one is the transport: unspecified,
stream or datagram."""

_TRANSPORTS: Final = range(3)

_BLOCKS: Final = {
    _INET: struct.Struct("!4s4sHH"),
    _INET6: struct.Struct("!16s16sHH"),
    _UNIX: struct.Struct("!108s108s"),
}
"""Source and destination, by family."""


def _version_2(data: bytes) -> tuple[Header, int] | None:
    if len(data) < _FIXED.size:
        _check_command(data)
        return None
    _, command, kind, length = _FIXED.unpack_from(data)
    _check_command(data)
    end = _FIXED.size + length
    if end > LONGEST:
        raise InvalidHeader(f"version 2: {end} bytes are announced, {LONGEST} are the most")
    family, transport = kind >> 4, kind & 0xF
    if command == _PROXY and (family > _UNIX or transport not in _TRANSPORTS):
        raise InvalidHeader(f"version 2: {kind:#04x} is no address family with a transport")
    if len(data) < end:
        return None
    if command == _LOCAL:  # whatever follows is to be skipped
        return Header(is_local=True), end
    return _proxied(data[:end], family, is_known=bool(family and transport)), end


def _check_command(data: bytes) -> None:
    position = len(SIGNATURE)
    if len(data) > position and data[position] not in (_LOCAL, _PROXY):
        raise InvalidHeader(f"version 2: {data[position]:#04x} is no version with a command")


def _proxied(header: bytes, family: int, *, is_known: bool) -> Header:
    """Read addresses and what follows them.

    Where family or transport is unspecified, the real addresses count; without a family nobody
    knows either where the addresses end.
    """
    if family == _UNSPEC:
        return Header()
    block = _BLOCKS[family]
    if len(header) < _FIXED.size + block.size:
        raise InvalidHeader("version 2: is too short for its addresses")
    tlvs = tuple(_tlvs(header, _FIXED.size + block.size))
    if not is_known:
        return Header(tlvs=tlvs)
    if family == _UNIX:
        source, destination = block.unpack_from(header, _FIXED.size)
        return Header(_unix_name(source), _unix_name(destination), tlvs=tlvs)
    inet = socket.AF_INET if family == _INET else socket.AF_INET6
    source, destination, source_port, destination_port = block.unpack_from(header, _FIXED.size)
    return Header(
        _address(inet, source, source_port),
        _address(inet, destination, destination_port),
        tlvs=tlvs,
    )


def _unix_name(padded: bytes) -> str | bytes:
    """A path, or an abstract name as bytes with its NUL, as Python's sockets have them."""
    if padded.startswith(b"\0"):
        name = padded.rstrip(b"\0")
        return name or ""
    return os.fsdecode(padded.partition(b"\0")[0])


def _tlvs(header: bytes, begin: int) -> Iterator[Tlv]:
    """Read what follows the addresses; a checksum is compared."""
    for kind, value, position in _entries(header, begin):
        if kind == CRC32C:
            _check_sum(header, position, value)
        yield kind, value


def _entries(data: bytes, begin: int) -> Iterator[tuple[int, bytes, int]]:
    """Type, value, and where the value begins."""
    position = begin
    while position < len(data):
        if position + 3 > len(data):
            raise InvalidHeader("version 2: ends within a TLV")
        kind, length = data[position], int.from_bytes(data[position + 1 : position + 3])
        position += 3
        if position + length > len(data):
            raise InvalidHeader(f"version 2: TLV {kind:#04x} is longer than the header")
        yield kind, data[position : position + length], position
        position += length


def _check_sum(header: bytes, position: int, value: bytes) -> None:
    if len(value) != 4:
        raise InvalidHeader("version 2: the checksum is not of 4 bytes")
    zeroed = header[:position] + bytes(4) + header[position + 4 :]
    if crc32c(zeroed) != int.from_bytes(value):
        raise InvalidHeader("version 2: the checksum is wrong")


_CERTIFICATE_ON_CONNECTION: Final = 0x02
_CERTIFICATE_OF_SESSION: Final = 0x04
"""Bits of PP2_TYPE_SSL's first byte; 0x01 is that there was TLS."""

_TLS_HEAD: Final = struct.Struct("!BI")
"""The bits, and 0 where a certificate was presented and verified."""

_TLS_VERSION: Final = 0x21
_TLS_COMMON_NAME: Final = 0x22
_TLS_CIPHER: Final = 0x23


def _client_tls(value: bytes) -> ClientTls | None:
    """Read PP2_TYPE_SSL; what is not as it has to be says nothing."""
    if len(value) < _TLS_HEAD.size:
        return None
    bits, unverified = _TLS_HEAD.unpack_from(value)
    if not bits & 1:
        return None
    try:
        found = {kind: inner for kind, inner, _ in _entries(value, _TLS_HEAD.size)}
    except InvalidHeader:
        return None
    had = bool(bits & (_CERTIFICATE_ON_CONNECTION | _CERTIFICATE_OF_SESSION))
    texts = (
        found[kind].decode("utf-8", "replace") if kind in found else None
        for kind in (_TLS_VERSION, _TLS_COMMON_NAME, _TLS_CIPHER)
    )
    return ClientTls(had, had and not unverified, *texts)


_POLYNOMIAL: Final = 0x82F63B78
"""Castagnoli's, reversed (RFC 9260, appendix A)."""


def _table() -> Iterator[int]:
    for remainder in range(256):
        for _ in range(8):
            remainder = remainder >> 1 ^ (_POLYNOMIAL if remainder & 1 else 0)
        yield remainder


_REMAINDERS: Final = tuple(_table())


def crc32c(data: bytes) -> int:
    """Return the CRC32c of *data*."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder = remainder >> 8 ^ _REMAINDERS[(remainder ^ byte) & 0xFF]
    return remainder ^ 0xFFFFFFFF
