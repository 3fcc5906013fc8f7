"""How the value of a socket option is written in a file, and what setsockopt(2) gets for it.

A form checks what the kernel would refuse with a bare EINVAL, so that the message can say what is
valid. What only the kernel knows (limits, modules, rights) is left to it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from netd.model import units

Packed = tuple[int | bytes, ...]
"""The values to set, one call of setsockopt each."""


@dataclass(frozen=True)
class Form:
    """A way of writing values. ``read`` raises ValueError that says which values are valid."""

    title: str
    """For people: ``true or false``."""
    read: Callable[[object], Packed]
    json_type: tuple[str, ...]
    """JSON Schema's names of the types that a value can have."""
    examples: tuple[object, ...]


LARGEST_INT: Final = 2**31 - 1
"""The largest C int, the type of most options."""

LONGEST_NAME: Final = 15
"""Characters of an interface's or an algorithm's name: IFNAMSIZ and TCP_CA_NAME_MAX are 16, with
the NUL."""


def _flag(value: object) -> Packed:
    # TOML has booleans. A number here may have been meant for another option.
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return (int(value),)


FLAG: Final = Form("true or false", _flag, ("boolean",), (True,))


def number(least: int, most: int = LARGEST_INT, unit: str = "") -> Form:
    """A whole number; *unit* is what it counts."""

    def read(value: object) -> Packed:
        # bool is a subclass of int.
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        # Python's setsockopt takes a C int; a u32 beyond that is the negative one with its bits.
        return (value if value <= LARGEST_INT else value - 2**32,)

    title = f"number from {least} to {most}" + (f", {unit}" if unit else "")
    return Form(title, read, ("integer",), (least,))


def _size(value: object) -> Packed:
    size = units.size(value)
    if not 1 <= size <= LARGEST_INT // 2:  # the kernel doubles it
        raise ValueError(f"must be from 1 to {LARGEST_INT // 2} bytes")
    return (size,)


SIZE: Final = Form("size", _size, ("integer", "string"), ("64KiB",))


def _timeval(value: object) -> Packed:
    # Rounded to microseconds before it is split: 0.3 as a float is a little less than 0.3.
    whole, rest = divmod(round(units.duration(value) * 1_000_000), 1_000_000)
    return (struct.pack("ll", whole, rest),)


TIMEVAL: Final = Form("duration", _timeval, ("number", "string"), ("2.5s", "250ms"))
"""``struct timeval``; 0 means no time-out."""


def _linger(value: object) -> Packed:
    if value is False:
        return (struct.pack("ii", 0, 0),)
    if value is True:
        raise ValueError('must be a duration, like "5s", or false')
    seconds = units.duration(value)
    if seconds != int(seconds) or seconds > LARGEST_INT:
        raise ValueError("must be whole seconds: the system counts nothing finer here")
    return (struct.pack("ii", 1, int(seconds)),)


LINGER: Final = Form("duration or false", _linger, ("boolean", "number", "string"), ("5s", False))
"""``struct linger``, of socket(7)."""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a string that is not empty")
    return value


def _name(value: object) -> Packed:
    text = _text(value)
    # The kernel would cut a longer name off, and then look for another interface or algorithm.
    if not text.isascii() or "\0" in text or len(text) > LONGEST_NAME:
        raise ValueError(f"must be a name of at most {LONGEST_NAME} ASCII characters")
    return (text.encode(),)


NAME: Final = Form("name", _name, ("string",), ("cubic",))


def _hex(value: object) -> Packed:
    text = _text(value)
    digits = text.removeprefix("hex:")
    if digits == text or not re.fullmatch("([0-9a-fA-F]{2}[ :]?)*", digits):
        raise ValueError('must be "hex:" and two digits a byte, like "hex:01000000"')
    return (bytes.fromhex(digits.replace(":", " ")),)


HEX: Final = Form("bytes", _hex, ("string",), ("hex:01010100",))


def interfaces() -> list[str]:
    """The names of this machine's interfaces."""
    return [name for _, name in socket.if_nameindex()]


def _index(name: str) -> int:
    """The index of an interface. Raises ValueError."""
    try:
        return socket.if_nametoindex(name)
    except (OSError, ValueError):  # ValueError: a NUL
        known = ", ".join(interfaces())
        raise ValueError(f'there is no interface "{name}" here; there are {known}') from None


def _device(value: object) -> Packed:
    text = _text(value)
    _index(text)  # raises if there is none, with the names of those that exist
    return (text.encode(),)


DEVICE: Final = Form("interface", _device, ("string",), ("eth0",))
"""An interface, which the kernel gets by its name."""


def _interface_index(value: object) -> Packed:
    return (_index(_text(value)),)


INTERFACE_INDEX: Final = Form("interface", _interface_index, ("string",), ("eth0",))
"""An interface, which the kernel gets by its index."""


def _interface_in_network_order(value: object) -> Packed:
    return (struct.pack("!I", _index(_text(value))),)


NETWORK_INTERFACE_INDEX: Final = Form(
    "interface", _interface_in_network_order, ("string",), ("eth0",)
)
"""The same, with the index in network byte order."""

_MREQN: Final = struct.Struct("4s4si")
"""``struct ip_mreqn`` of ip(7): group, address of an interface, index of an interface."""

_MREQ6: Final = struct.Struct("16sI")
"""``struct ipv6_mreq`` (RFC 3493, 5.2), and ``struct in6_pktinfo`` (RFC 3542, 6): an address and
the index of an interface."""


def _interface_parts(text: str) -> tuple[bytes, int]:
    """Address and index of an interface, which is given by its name or an IPv4 address."""
    try:
        return ipaddress.IPv4Address(text).packed, 0
    except ValueError:
        return bytes(4), _index(text)


def _interface4(value: object) -> Packed:
    return (_MREQN.pack(bytes(4), *_interface_parts(_text(value))),)


INTERFACE4: Final = Form(
    "interface or its address", _interface4, ("string",), ("eth0", "192.0.2.1")
)


def _each(value: object, one: Callable[[str], bytes], form: str) -> Packed:
    """Read one text or a list of texts; each value is set once."""
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"needs a {form}, or a list of at least one")
    # Joining a group twice fails with EADDRINUSE.
    return tuple(dict.fromkeys(map(one, texts)))


def _group4(text: str) -> bytes:
    group, at, where = text.partition("@")
    address = _multicast(group, ipaddress.IPv4Address, "224.0.0.0/4", "239.1.2.3")
    return _MREQN.pack(address, *(_interface_parts(where) if at else (bytes(4), 0)))


def _group6(text: str) -> bytes:
    group, at, where = text.partition("@")
    address = _multicast(group, ipaddress.IPv6Address, "ff00::/8", "ff02::1:3")
    return _MREQ6.pack(address, _index(where) if at else 0)


def _multicast(
    text: str,
    kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address],
    network: str,
    example: str,
) -> bytes:
    try:
        address = kind(text)
    except ValueError:
        address = None
    if address is None or not address.is_multicast:
        raise ValueError(
            f'"{text}" is not a group: write an address of {network}, and after an @ the '
            f'interface, like "{example}@{interfaces()[-1]}"'
        )
    return address.packed


def _form_of_groups(example: str, one: Callable[[str], bytes]) -> Form:
    form = f'group, like "{example}" or "{example}@eth0"'
    return Form(
        "group, or list of groups",
        lambda value: _each(value, one, form),
        ("string", "array"),
        ([example, f"{example}@eth0"],),
    )


GROUPS4: Final = _form_of_groups("239.1.2.3", _group4)
"""``group@interface``; the interface is its name or one of its addresses."""

GROUPS6: Final = _form_of_groups("ff02::1:3", _group6)
"""``group@interface``; the interface is its name."""

_SOURCE: Final = struct.Struct("4s4s4s")
"""``struct ip_mreq_source`` of ip(7): group, address of an interface, source."""


def _source4(text: str) -> bytes:
    group, slash, rest = text.partition("/")
    source, at, where = rest.partition("@")
    packed = _multicast(group, ipaddress.IPv4Address, "224.0.0.0/4", "232.1.2.3/192.0.2.9")
    try:
        source_address = ipaddress.IPv4Address(source).packed
        interface = ipaddress.IPv4Address(where).packed if at else bytes(4)
    except ValueError:
        slash = ""
    if not slash:
        raise ValueError(
            f'"{text}" is not a source: write "group/source", or "group/source@address" with an '
            "address of the interface"
        )
    return _SOURCE.pack(packed, interface, source_address)


SOURCES4: Final = Form(
    "group/source, or list of them",
    lambda value: _each(value, _source4, 'source, like "232.1.2.3/192.0.2.9"'),
    ("string", "array"),
    ("232.1.2.3/192.0.2.9",),
)
"""``group/source@address``; the address is one of the interface."""


def _packet_information(value: object) -> Packed:
    text = _text(value)
    address, at, where = text.partition("@")
    try:
        packed = ipaddress.IPv6Address(address).packed if address else bytes(16)
    except ValueError:
        raise ValueError(f'"{address}" is not an IPv6 address: write "address@interface"') from None
    return (_MREQ6.pack(packed, _index(where) if at else 0),)


PACKET_INFORMATION: Final = Form(
    "address@interface", _packet_information, ("string",), ("@eth0", "2001:db8::1@eth0")
)
"""``struct in6_pktinfo``: source address and interface; either can be left out."""


def choice(**numbers: int) -> Form:
    """One of a few words, each for a number."""

    def read(value: object) -> Packed:
        if not isinstance(value, str) or value not in numbers:
            words = ", ".join(f'"{word}"' for word in numbers)
            raise ValueError(f"must be one of {words}")
        return (numbers[value],)

    words = ", ".join(numbers)
    return Form(words, read, ("string",), tuple(numbers)[:1])
