"""A service on its way to netd: what was carried over, and what was not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from netd.config.document import TomlTable, TomlValue
from netd.config.toml import literal
from netd.ctl.inetd.lines import Location

ORDER: Final = (
    "enabled",
    "listen",
    "handler",
    "program",
    "wait",
    "user",
    "group",
    "umask",
    "nice",
    "environment",
    "rlimits",
    "access",
    "limits",
    "socket",
)
"""The keys of a service that an import writes, in the order in which people read them."""

LIMITS: Final = "limits"
"""The table of keys that only bound how much clients may take. Without one of these, a service is
open to the same clients at the same times; without any other key, it may be open to more."""


@dataclass(frozen=True)
class Service:
    """A service of inetd or xinetd, as netd would have it."""

    place: Location
    name: str
    """Its name there, which may not do as one of netd's."""
    table: TomlTable
    """The keys of ``[services.NAME]``, in order; empty when netd has nothing like it."""
    remarks: tuple[str, ...]
    """What is different or left out."""
    general: tuple[str, ...]
    """Remarks that are the same for many services, and are said once."""
    why_off: tuple[str, ...]
    """Why it is not enabled, where the original was."""
    why_none: tuple[str, ...]
    """Why netd has nothing like it; then there is no table."""
    why_refused: tuple[str, ...] = ()
    """Why netd would refuse the table; then it is printed as a comment."""

    @property
    def listen(self) -> tuple[str, ...]:
        """The descriptions of its listeners."""
        found = self.table.get("listen")
        return tuple(map(str, found)) if isinstance(found, list) else ()

    @property
    def is_printed(self) -> bool:
        """Whether the configuration has its table."""
        return bool(self.table) and not self.why_refused

    @property
    def is_enabled(self) -> bool:
        """Whether netd would open it."""
        return self.is_printed and self.table.get("enabled", True) is True


class Draft:
    """Collects what becomes of one service. One thread, one service, then ``finished``.

    *has_key* says whether netd has a key of a service, dotted as for ``put``.
    """

    def __init__(self, place: Location, name: str, has_key: Callable[[str], bool]) -> None:
        self.place: Final = place
        self.name: Final = name
        self._has_key = has_key
        self._table: TomlTable = {}
        self._remarks: list[str] = []
        self._general: list[str] = []
        self._why_off: list[str] = []
        self._why_none: list[str] = []

    def put(self, key: str, value: TomlValue) -> bool:
        """Set a key; ``access.allow`` stands in the table ``access``.

        False where netd does not have the key. Then a comment says what would stand there, and the
        service is off unless the key is one of ``LIMITS``.
        """
        if not self._has_key(key):
            self._cannot_put(key, f"{key} = {literal(value)}")
            return False
        *around, last = key.split(".")
        table = self._table
        for name in around:
            below = table.setdefault(name, {})
            assert isinstance(below, dict)  # the keys that an import writes never clash
            table = below
        table[last] = value
        return True

    def _cannot_put(self, key: str, written: str) -> None:
        why = f"{written} would stand here, and this version of netd does not have that key"
        if key.split(".")[0] == LIMITS:
            self.remark(f"Left out: {why}. The service has no such limit.")
        else:
            self.turn_off(f"{why}; without it the service would be more open")

    def remark(self, text: str) -> None:
        """Say what is different, or left out."""
        _add(self._remarks, text)

    def remark_once(self, text: str) -> None:
        """The same, for what is to be said once in a file of many such services."""
        _add(self._general, text)

    def disable(self) -> None:
        """It was off before."""
        self.put("enabled", False)

    def turn_off(self, why: str) -> None:
        """Do not open it: with what could not be carried over, it would be too open, or wrong."""
        self.disable()
        _add(self._why_off, why)

    def give_up(self, why: str) -> None:
        """Netd has nothing like it."""
        _add(self._why_none, why)

    def finished(self) -> Service:
        """What became of it."""
        table = {} if self._why_none else copy.deepcopy(self._table)
        return Service(
            place=self.place,
            name=self.name,
            table={key: table[key] for key in sorted(table, key=ORDER.index)},
            remarks=tuple(self._remarks),
            general=tuple(self._general),
            why_off=tuple(self._why_off),
            why_none=tuple(self._why_none),
        )


def _add(texts: list[str], text: str) -> None:
    if text not in texts:
        texts.append(text)
