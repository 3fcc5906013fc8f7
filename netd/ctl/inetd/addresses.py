"""The elements of ``only_from`` and ``no_access`` (xinetd.conf(5)), as networks or names."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_QUAD: Final = re.compile(r"(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}", re.ASCII)
_FACTORISED: Final = re.compile(r"((?:\d{1,3}\.){0,3})\{(\d{1,3}(?:,\d{1,3})*)\}", re.ASCII)
_NAME: Final = re.compile(r"\.?[\w-]{1,63}(?:\.[\w-]{1,63})*\.?", re.ASCII)
_ENDS_IN_NUMBER: Final = re.compile(r"(?:.*\.)?(?:\d+|0[xX][0-9a-fA-F]*)\.?", re.ASCII | re.DOTALL)

_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
"""The addresses of IPv4 clients at an IPv6 socket that serves both (RFC 4291, 2.5.5.2)."""

EVERY_IPV4: Final = "0.0.0.0/0"


def elements(text: str) -> tuple[str, ...]:
    """Return the networks that one element stands for, with prefix lengths, or the name that it is.

    Raises ValueError for any other text.
    """
    if "{" in text:
        return tuple(_factorised(text))
    if "," in text:
        raise ValueError(f"{text} has a comma: blanks part the elements")
    if "/" in text:
        return (_masked(text),)
    if ":" in text:
        return (_network(text, 128, "is no IPv6 address"),)
    if _QUAD.fullmatch(text):
        return (by_zeros(text),)
    if _ENDS_IN_NUMBER.fullmatch(text):
        # To xinetd, "10.1" is 10.0.0.1 and "010.0.0.1" is 8.0.0.1 (inet_aton(3)), which is not
        # what people mean by them.
        raise ValueError(f"{text} is no IPv4 address: write four numbers, without leading zeros")
    if _NAME.fullmatch(text):
        return (text,)
    raise ValueError(f"{text} is no address, network or name")


def by_zeros(address: str) -> str:
    """Return the network of an IPv4 address, in which zeros at the end stand for any number.

    Raises ValueError.
    """
    numbers = address.split(".")
    while numbers and numbers[-1] == "0":
        numbers.pop()
    return _network(address, 8 * len(numbers), "is no IPv4 address")


def is_network(element: str) -> bool:
    """Whether one of ``elements`` is a network, not a name."""
    return "/" in element


def shown(network: str) -> str:
    """Return a network as people write it: a single address without a prefix length."""
    parsed = ipaddress.ip_network(network)
    return str(parsed.network_address) if parsed.num_addresses == 1 else str(parsed)


def has_every_ipv4(network: str) -> bool:
    """Whether an IPv6 *network*, such as ``::/0``, has the mapped addresses of IPv4 clients."""
    parsed = ipaddress.ip_network(network)
    return isinstance(parsed, ipaddress.IPv6Network) and _MAPPED.subnet_of(parsed)


def _factorised(text: str) -> list[str]:
    """Return the networks of ``128.138.{12,13}``, one for each number in the braces at the end."""
    match = _FACTORISED.fullmatch(text)
    if match is None:
        raise ValueError(f"{text} is no factorised address, which is like 128.138.{{12,13}}")
    before = [str(int(number)) for number in match[1].split(".") if number]
    length = 8 * (len(before) + 1)
    networks = []
    for last in match[2].split(","):
        numbers = [*before, str(int(last))]
        whole = ".".join(numbers + ["0"] * (4 - len(numbers)))
        networks.append(_network(whole, length, f"(of {text}) is no IPv4 address"))
    return networks


def _masked(text: str) -> str:
    address, _, length = text.partition("/")
    if ":" not in address and not _QUAD.fullmatch(address):
        raise ValueError(f"{text} is no network: write four numbers before the slash")
    if not re.fullmatch(r"\d{1,3}", length, re.ASCII):
        raise ValueError(f"{text} is no network: write the length of its prefix after the slash")
    return _network(address, int(length), f"with /{length} is no network")


def _network(address: str, length: int, wrong: str) -> str:
    # xinetd ignores a scope id (RFC 4007) when it compares addresses.
    number = address.partition("%")[0] if ":" in address else address
    try:
        return str(ipaddress.ip_network(f"{number}/{length}", strict=False))
    except ValueError:
        raise ValueError(f"{address} {wrong}") from None
