"""Addresses and networks as numbers, and sets of networks with a fast lookup.

``inet_pton`` reads the same texts as the ``ipaddress`` module (tests/admission/test_networks.py
compares them), in a tenth of the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

_MAPPED: Final = bytes(10) + b"\xff\xff"
"""The first bytes of a v4-mapped IPv6 address (RFC 4291, 2.5.5.2)."""
_MAPPED_BITS: Final = 8 * len(_MAPPED)


class Unreadable(ValueError):
    """A text that is not an IPv4 or IPv6 address."""


def packed(address: str) -> bytes:
    """Read a client's address: 4 bytes for IPv4 and for v4-mapped IPv6, else 16.

    A scope id (``fe80::1%eth0``, RFC 4007) is dropped: rules name addresses, not links.
    Raises Unreadable.
    """
    if "%" in address:
        address = _without_scope(address)
    number = _number(address)
    return number[len(_MAPPED) :] if number.startswith(_MAPPED) else number


def network(text: str) -> tuple[bytes, int]:
    """Read an address or a network in CIDR form (RFC 4632): its number and its prefix length.

    Host bits are kept; v4-mapped networks become IPv4 networks. Raises Unreadable for a text
    that is not an address or has a scope id, and ValueError for a bad prefix length.
    """
    address, slash, length = text.partition("/")
    number = _number(address)
    bits = 8 * len(number)
    prefix = _prefix_length(length, bits) if slash else bits
    if not number.startswith(_MAPPED):
        return number, prefix
    if prefix < _MAPPED_BITS:
        raise ValueError(
            f"the prefix length of a v4-mapped network is {_MAPPED_BITS} to {bits};"
            " write the IPv4 network instead"
        )
    return number[len(_MAPPED) :], prefix - _MAPPED_BITS


class NetworkSet:
    """Networks to look up an address in. Immutable, and safe from any thread.

    There is one set of prefixes for each prefix length. So a lookup costs as many probes as there
    are different lengths, for any number of networks. Raises ValueError for a text that
    ``network`` does not read.
    """

    __slots__ = ("_groups",)

    def __init__(self, networks: Iterable[str] = ()) -> None:
        found: dict[int, defaultdict[int, set[int]]] = {4: defaultdict(set), 16: defaultdict(set)}
        for text in networks:
            number, length = network(text)
            shift = 8 * len(number) - length
            found[len(number)][shift].add(int.from_bytes(number) >> shift)
        # The widest networks first, since they are the likeliest to match.
        self._groups: Final = {
            size: tuple((shift, frozenset(groups[shift])) for shift in sorted(groups, reverse=True))
            for size, groups in found.items()
        }

    def matches(self, address: str) -> bool:
        """Whether the address of a client is in one of the networks.

        Raises Unreadable.
        """
        return self.contains(packed(address))

    def contains(self, number: bytes) -> bool:
        """The same for an address from ``packed``, which is read once for several sets."""
        value = int.from_bytes(number)
        for shift, prefixes in self._groups[len(number)]:  # noqa: SIM110 (any() costs twice this)
            if value >> shift in prefixes:
                return True
        return False


def _number(address: str) -> bytes:
    try:
        return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError) as error:  # ValueError: a NUL, or a lone surrogate
        raise Unreadable(f"{address!r} is not an IPv4 or IPv6 address") from error


def _without_scope(address: str) -> str:
    host, _, scope = address.partition("%")
    if ":" not in host or not scope or "%" in scope or "/" in scope:
        raise Unreadable(f"{address!r} is not an IPv6 address with a scope id")
    return host


def _prefix_length(text: str, bits: int) -> int:
    # Three digits at most, since int() is slow for thousands of them.
    if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= bits:
        return int(text)
    raise ValueError(f"the prefix length, after the slash, is a number from 0 to {bits}")
