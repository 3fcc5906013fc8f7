"""Headers of the PROXY protocol, written as a proxy writes them."""

from __future__ import annotations

import socket
import struct
from typing import Any

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")

LOCAL, PROXY = 0x20, 0x21

FAMILIES = {socket.AF_INET: 1, socket.AF_INET6: 2, socket.AF_UNIX: 3}


def line(source: tuple[Any, ...], destination: tuple[Any, ...]) -> bytes:
    """Version 1."""
    word = "TCP6" if len(source) == 4 else "TCP4"
    return f"PROXY {word} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode()


def binary(
    source: Any = None,
    destination: Any = None,
    tlvs: list[tuple[int, bytes]] | None = None,
    *,
    command: int = PROXY,
    transport: int = 1,
) -> bytes:
    """Version 2; without addresses, of an unspecified family."""
    family, block = _block(source, destination)
    body = block + b"".join(tlv(kind, value) for kind, value in tlvs or [])
    kind = family << 4 | transport if family else 0
    return SIGNATURE + struct.pack("!BBH", command, kind, len(body)) + body


def tlv(kind: int, value: bytes) -> bytes:
    """A type, a length and a value."""
    return struct.pack("!BH", kind, len(value)) + value


def summed(header: bytes) -> bytes:
    """The header with a checksum, which is computed bit by bit here."""
    command, kind, length = struct.unpack_from("!BBH", header, 12)
    head = SIGNATURE + struct.pack("!BBH", command, kind, length + 7)
    body = header[16:] + b"\x03\x00\x04"
    return head + body + struct.pack("!I", crc32c_by_bits(head + body + bytes(4)))


def crc32c_by_bits(data: bytes) -> int:
    """CRC32c as it is defined (RFC 9260, appendix A)."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ 0x82F63B78 * (remainder & 1)
    return remainder ^ 0xFFFFFFFF


def _block(source: Any, destination: Any) -> tuple[int, bytes]:
    if source is None:
        return 0, b""
    if not isinstance(source, tuple):
        return FAMILIES[socket.AF_UNIX], struct.pack("108s108s", _name(source), _name(destination))
    family = socket.AF_INET6 if len(source) == 4 else socket.AF_INET
    numbers = b"".join(socket.inet_pton(family, address[0]) for address in (source, destination))
    return FAMILIES[family], numbers + struct.pack("!HH", source[1], destination[1])


def _name(path: str | bytes) -> bytes:
    return path if isinstance(path, bytes) else path.encode()
