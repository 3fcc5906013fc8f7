"""The ``listen`` descriptions of a service."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Literal

Family = Literal[4, 6]
Families = tuple[Family, ...]

BOTH: Final[Families] = (4, 6)

UNIX_MODE: Final = "666"
"""The mode of a Unix socket: inetd binds with the umask 111."""

UNKNOWN: Final = 0
"""The port of a service without a known port. netd would bind any free port, so the service must be
off."""

_SPECIAL: Final = re.compile(r"[\\:\[]")
"""Characters that need a backslash in a description, where they end a part or start a bracket."""


def inet(
    transport: Literal["tcp", "udp"], port: int, families: Families, hosts: Sequence[str]
) -> Iterator[str]:
    """Yield the descriptions for a *port* on each of *hosts*, or on all addresses without hosts.

    An address of another family than *families* is left out. A name gets the first family.
    """
    for family in families if not hosts else ():
        yield f"{_word(transport, family)}:{port}"
    for host in hosts:
        family = family_of(host) or families[0]
        if family in families:
            interface = f"[{host}]" if ":" in host else _escaped(host)
            yield f"{_word(transport, family)}:{port}:interface={interface}"


def unix(socket_type: str, path: str) -> str:
    """Return the description of a Unix socket."""
    word = "unix" if socket_type == "stream" else "unixgram"
    return f"{word}:{_escaped(path)}:mode={UNIX_MODE}"


def family_of(host: str) -> Family | None:
    """Return the family of an address; None for a name."""
    try:
        return 6 if ipaddress.ip_address(host).version == 6 else 4
    except ValueError:
        return None


def is_every(host: str) -> bool:
    """Whether *host* is the unspecified address, for every address of its family."""
    return family_of(host) is not None and ipaddress.ip_address(host).is_unspecified


def names(hosts: Collection[str]) -> list[str]:
    """Return those of *hosts* that are names."""
    return [host for host in hosts if family_of(host) is None]


def _word(transport: str, family: Family) -> str:
    return transport if family == 4 else f"{transport}6"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda special: f"\\{special[0]}", text)
