"""Where a service listens, as netd's descriptions."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Literal

Family = Literal[4, 6]
Families = tuple[Family, ...]

BOTH: Final[Families] = (4, 6)

UNIX_MODE: Final = "666"
"""Of the path of a Unix socket: inetd binds with the umask 111."""

UNKNOWN: Final = 0
"""The port of a service whose port is not known. Netd takes any for it, so it must be off."""

_SPECIAL: Final = re.compile(r"[\\:\[]")
"""What needs a backslash in a description: it would end a part, or start a bracket."""


def inet(
    transport: Literal["tcp", "udp"], port: int, families: Families, hosts: Sequence[str]
) -> Iterator[str]:
    """Descriptions for a *port* of each of *hosts*, or of all addresses when there are none.

    An address is listened on if it is of one of *families*; a name in the first of them.
    """
    for family in families if not hosts else ():
        yield f"{_word(transport, family)}:{port}"
    for host in hosts:
        family = family_of(host) or families[0]
        if family in families:
            interface = f"[{host}]" if ":" in host else _escaped(host)
            yield f"{_word(transport, family)}:{port}:interface={interface}"


def unix(socket_type: str, path: str) -> str:
    """The description of a Unix socket."""
    word = "unix" if socket_type == "stream" else "unixgram"
    return f"{word}:{_escaped(path)}:mode={UNIX_MODE}"


def family_of(host: str) -> Family | None:
    """The family of an address; None for a name."""
    try:
        return 6 if ipaddress.ip_address(host).version == 6 else 4
    except ValueError:
        return None


def is_every(host: str) -> bool:
    """Whether *host* stands for every address of its family."""
    return family_of(host) is not None and ipaddress.ip_address(host).is_unspecified


def names(hosts: Collection[str]) -> list[str]:
    """Those of *hosts* that are no addresses."""
    return [host for host in hosts if family_of(host) is None]


def _word(transport: str, family: Family) -> str:
    return transport if family == 4 else f"{transport}6"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda special: f"\\{special[0]}", text)
