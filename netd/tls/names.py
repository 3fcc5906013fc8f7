"""Server names (SNI): how they are written, and whom a client means by one. Pure.

RFC 6066, section 3, says how a client asks; RFC 9525, section 6.3, what a wildcard stands for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

WILDCARD: Final = "*."

LONGEST: Final = 253
"""Characters of a name (RFC 1035, 2.3.4, without the length bytes at both ends)."""

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
"""As the names of hosts have it (RFC 1123, 2.1), and with the underscore that some have."""

_T = TypeVar("_T")


class ServerNames(Generic[_T]):
    """What belongs to which server name. Never changed, and safe to ask from any thread.

    *entries* are names as ``canonical`` returns them. A name itself goes before the wildcard that
    it fits, and a wildcard stands for exactly one label. Whatever a client asks for costs two
    look-ups in a dictionary at most.
    """

    __slots__ = ("_exact", "_wild")

    def __init__(self, entries: Iterable[tuple[str, _T]]) -> None:
        self._exact: dict[str, _T] = {}
        self._wild: dict[str, _T] = {}
        for name, value in entries:
            if name.startswith(WILDCARD):
                self._wild[name.removeprefix(WILDCARD)] = value
            else:
                self._exact[name] = value

    def find(self, asked: str | bytes | None) -> _T | None:
        """Whom a client means by *asked*; None for nobody here. Raises nothing.

        *asked* is what the client has sent: it should be A-labels, and may be anything.
        """
        if not asked:
            return None
        if isinstance(asked, bytes):
            asked = asked.decode("ascii", "replace")
        name = asked.lower().removesuffix(".")
        found = self._exact.get(name)
        if found is None and self._wild:
            label, _, rest = name.partition(".")
            found = self._wild.get(rest) if label else None
        return found


def canonical(name: str) -> str:
    """A server *name*, or a wildcard, in lower case and A-labels (RFC 5890).

    Raises ValueError that says what is wrong and what would be right.
    """
    wildcard = WILDCARD if name.startswith(WILDCARD) else ""
    host = name.removeprefix(WILDCARD).removesuffix(".")
    if not host.isascii():
        # Rarely needed, and it takes 10 ms.
        import idna

        try:
            host = idna.encode(host, uts46=True).decode()
        except idna.IDNAError as error:
            raise ValueError(f"is no host name: {error}") from None
    host = host.lower()
    labels = host.split(".")
    if "*" in host:
        raise ValueError('has a "*" where none can be: it stands first, for one label, "*.host"')
    if len(host) > LONGEST or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError('is no host name: write one such as "host.example" or "*.host.example"')
    if labels[-1].isdigit():
        raise ValueError("ends in a number: clients ask for names, never for addresses")
    return wildcard + host
