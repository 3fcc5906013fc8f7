"""Server names (SNI): how they are written, and which entry a client's name matches. Pure.

RFC 6066, section 3, defines what a client sends; RFC 9525, section 6.3, what a wildcard matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

WILDCARD: Final = "*."

LONGEST: Final = 253
"""Characters of a name: 255 in RFC 1035 (2.3.4), less the length bytes at both ends."""

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
"""A label of a host name (RFC 1123, 2.1), with the underscore that some have."""

_T = TypeVar("_T")


class ServerNames(Generic[_T]):
    """A map from server names to values. Immutable, and safe from any thread.

    *entries* have names from ``canonical``. An exact name precedes a wildcard, and a wildcard
    matches exactly one label. Any name that a client sends costs two dictionary lookups at most.
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
        """The value for the name *asked*; None if no entry matches. Raises nothing.

        *asked* comes from the client: it should consist of A-labels, but may be any text.
        """
        if not asked:
            return None
        # pyOpenSSL passes the bytes of the client, ssl a text.
        if isinstance(asked, bytes):
            asked = asked.decode("ascii", "replace")
        # RFC 6066 forbids the dot at the end; some clients send it.
        name = asked.lower().removesuffix(".")
        found = self._exact.get(name)
        if found is None and self._wild:
            label, _, rest = name.partition(".")
            found = self._wild.get(rest) if label else None
        return found


def canonical(name: str) -> str:
    """A server *name* or a wildcard, in lower case and A-labels (RFC 5890).

    Raises ValueError that says what is wrong and what is valid.
    """
    wildcard = WILDCARD if name.startswith(WILDCARD) else ""
    host = name.removeprefix(WILDCARD).removesuffix(".")
    if not host.isascii():
        # Imported here: few names need it, and importing it takes 10 ms.
        import idna

        try:
            host = idna.encode(host, uts46=True).decode()
        except idna.IDNAError as error:
            raise ValueError(f"is not a host name: {error}") from None
    host = host.lower()
    labels = host.split(".")
    if "*" in host:
        raise ValueError('has a "*" in the wrong place: it can only be the first label, "*.host"')
    if len(host) > LONGEST or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError('is not a host name: write one such as "host.example" or "*.host.example"')
    if labels[-1].isdigit():
        raise ValueError("ends in a number: clients send names, never addresses")
    return wildcard + host
