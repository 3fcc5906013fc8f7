"""The header of the PROXY protocol, versions 1 and 2, from bytes to values. It does no I/O.

A proxy sends the header before anything else, to name the client whose connection it passes on.
netd never guesses from the bytes whether a header is there: the configuration says which peers must
send one. Guessing would let any client name another client's address.

Source: ``doc/proxy-protocol.txt`` of HAProxy ("the specification" below).
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from netd.model.address import InetSocketAddress, SocketAddress

LONGEST: Final = 4096
"""Bytes of the longest header that is read, as in nginx. Version 2 can announce 65 551 bytes, and
the specification asks senders for at most 536."""

LONGEST_LINE: Final = 107
"""Bytes of the longest header of version 1, with its CRLF (specification, 2.1)."""

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""The first bytes of version 2."""

_WORD: Final = b"PROXY "
"""The first bytes of version 1."""

CRC32C: Final = 0x03
"""The type of the entry that has the checksum (PP2_TYPE_CRC32C, 2.2.3). netd reads no other one."""


class InvalidHeader(ValueError):
    """The bytes are not a header of the PROXY protocol; the message says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """A complete header.

    Addresses have the form in which ``socketserver`` passes those of their family. A header
    without addresses belongs to a connection of the proxy's own, or of a kind that the proxy cannot
    name; the addresses of the socket then count.
    """

    source: SocketAddress = None
    """The real client; None if the header does not name it."""
    destination: SocketAddress = None
    """The address that the client connected to; None if the header does not name it."""
    is_local: bool = False
    """Whether the proxy connects for itself, for example for a health check."""


class HeaderReader:
    """Reads one header that comes in any number of pieces."""

    __slots__ = ("_read", "header")

    def __init__(self) -> None:
        self._read = b""
        self.header: Header | None = None
        """The header, once it is complete."""

    def feed(self, data: bytes) -> int | None:
        """Add *data*, the bytes that follow those fed before.

        Returns how many bytes of *data* belong to the header, if it is complete now. Returns None
        if all of them do and more must come. Raises InvalidHeader as soon as the bytes cannot
        become a header, so that a wrong client is not waited for.
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
    """Split a datagram that a proxy has passed on into its header and its payload.

    Raises InvalidHeader.
    """
    found = _header(data)
    if found is None:
        raise InvalidHeader("the datagram ends within the header")
    header, length = found
    return header, data[length:]


def _header(data: bytes) -> tuple[Header, int] | None:
    """Return the header at the start of *data* and its length; None while it is incomplete."""
    if data.startswith(SIGNATURE):
        return _version_2(data)
    if data.startswith(_WORD):
        return _version_1(data)
    if SIGNATURE.startswith(data) or _WORD.startswith(data):
        return None
    raise InvalidHeader("does not begin like a header of the PROXY protocol")


# Version 1: a line of text.

# No leading zeros and no signs: int() accepts them, and other readers may read them differently.
_ADDRESSES: Final = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
)

_FAMILIES: Final = {b"TCP4": socket.AF_INET, b"TCP6": socket.AF_INET6}


def _version_1(data: bytes) -> tuple[Header, int] | None:
    # Bounded, so that a client cannot make netd buffer a line without an end.
    end = data.find(b"\r\n", 0, LONGEST_LINE)
    if end < 0:
        if len(data) >= LONGEST_LINE:
            raise InvalidHeader(f"version 1: no CRLF within {LONGEST_LINE} bytes")
        return None
    return _of_line(data[:end]), end + 2


def _of_line(line: bytes) -> Header:
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return Header()  # readers must ignore the rest of the line (2.1)
    match = _ADDRESSES.fullmatch(line)
    if match is None:
        raise InvalidHeader(f"version 1: {line!r} is not a valid line")
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


def _address(family: socket.AddressFamily, number: bytes, port: int) -> InetSocketAddress:
    host = socket.inet_ntop(family, number)
    return (host, port) if family == socket.AF_INET else (host, port, 0, 0)


# Version 2: binary.

_FIXED: Final = struct.Struct("!12sBBH")
"""Signature, version and command, family and transport, length of the rest (2.2)."""

_LOCAL: Final = 0x20
_PROXY: Final = 0x21

_UNSPEC, _INET, _INET6, _UNIX = range(4)
"""Address families, the upper four bits of their byte. The lower four are the transport:
unspecified, stream or datagram."""

_TRANSPORTS: Final = range(3)

_BLOCKS: Final = {
    _INET: struct.Struct("!4s4sHH"),
    _INET6: struct.Struct("!16s16sHH"),
    _UNIX: struct.Struct("!108s108s"),
}
"""Source and destination address, by family."""


def _version_2(data: bytes) -> tuple[Header, int] | None:
    if len(data) < _FIXED.size:
        _check_command(data)  # already here, so that a wrong header is refused without waiting
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
    if command == _LOCAL:  # readers must skip the rest, even of a family they do not know (2.2)
        return Header(is_local=True), end
    return _proxied(data[:end], family, is_known=bool(family and transport)), end


def _check_command(data: bytes) -> None:
    position = len(SIGNATURE)
    if len(data) > position and data[position] not in (_LOCAL, _PROXY):
        raise InvalidHeader(f"version 2: {data[position]:#04x} is no version with a command")


def _proxied(header: bytes, family: int, *, is_known: bool) -> Header:
    """Read the addresses, and check the entries after them.

    If family or transport is unspecified, the addresses of the socket count. Without a family it
    is also unknown where the addresses end, so the entries are not checked.
    """
    if family == _UNSPEC:
        return Header()
    block = _BLOCKS[family]
    if len(header) < _FIXED.size + block.size:
        raise InvalidHeader("version 2: is too short for its addresses")
    _check_entries(header, _FIXED.size + block.size)
    if not is_known:
        return Header()
    if family == _UNIX:
        source, destination = block.unpack_from(header, _FIXED.size)
        return Header(_unix_name(source), _unix_name(destination))
    inet = socket.AF_INET if family == _INET else socket.AF_INET6
    source, destination, source_port, destination_port = block.unpack_from(header, _FIXED.size)
    return Header(
        _address(inet, source, source_port), _address(inet, destination, destination_port)
    )


def _unix_name(padded: bytes) -> str | bytes:
    """A path, or an abstract name as bytes with its NUL: the forms of Python's sockets."""
    if padded.startswith(b"\0"):
        # The field has no length: zeros at the end of a name cannot be told from padding.
        name = padded.rstrip(b"\0")
        return name or ""
    return os.fsdecode(padded.partition(b"\0")[0])


def _check_entries(header: bytes, begin: int) -> None:
    """Check the type-length-value entries after the addresses, and the checksum if there is one.

    netd has no use for their values. A header with broken entries is refused nevertheless, since
    its addresses may be broken, too.
    """
    for kind, value, position in _entries(header, begin):
        if kind == CRC32C:
            _check_sum(header, position, value)


def _entries(data: bytes, begin: int) -> Iterator[tuple[int, bytes, int]]:
    """The type of each entry, its value, and the position of the value."""
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
    # The sender computes it with zeros in its place (2.2.3).
    zeroed = header[:position] + bytes(4) + header[position + 4 :]
    if crc32c(zeroed) != int.from_bytes(value):
        raise InvalidHeader("version 2: the checksum is wrong")


_POLYNOMIAL: Final = 0x82F63B78
"""Castagnoli's polynomial, bits reversed (RFC 9260, appendix A)."""


def _table() -> Iterator[int]:
    """The remainder of each byte."""
    for remainder in range(256):
        for _ in range(8):
            remainder = remainder >> 1 ^ (_POLYNOMIAL if remainder & 1 else 0)
        yield remainder


_REMAINDERS: Final = tuple(_table())


def crc32c(data: bytes) -> int:
    """Return the CRC32c of *data*. The standard library has only CRC32."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder = remainder >> 8 ^ _REMAINDERS[(remainder ^ byte) & 0xFF]
    return remainder ^ 0xFFFFFFFF
