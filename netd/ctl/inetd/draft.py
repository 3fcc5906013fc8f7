"""The result of a conversion: what has a counterpart in netd, and what has none."""

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
"""The keys of a service that an import writes, in the order of the output."""

LIMITS: Final = "limits"
"""The table of keys that only limit resources. Without one of these, a service still admits the
same clients; without any other key, it may admit more."""


@dataclass(frozen=True)
class Service:
    """A service of inetd or xinetd, as netd would have it."""

    place: Location
    name: str
    """Its name there, which may not be a valid name in netd."""
    table: TomlTable
    """The keys of ``[services.NAME]``, in order; empty if netd has no counterpart."""
    remarks: tuple[str, ...]
    """What differs or is left out."""
    general: tuple[str, ...]
    """Remarks that apply to many services, and are printed once."""
    why_off: tuple[str, ...]
    """Why it is not enabled although the original was."""
    why_none: tuple[str, ...]
    """Why netd has no counterpart; then there is no table."""
    why_refused: tuple[str, ...] = ()
    """Why netd would refuse the table; then the table is printed as a comment."""

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
    """Collects the conversion of one service; ``finished`` returns it.

    *has_key*: whether netd has a key of a service, dotted as for ``put``.
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
        """Set a key; ``access.allow`` is the key ``allow`` of the table ``access``.

        Returns False if netd does not have the key. Then a comment shows what is left out, and the
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
        """Add a remark about what differs or is left out."""
        _add(self._remarks, text)

    def remark_once(self, text: str) -> None:
        """Add a remark that is printed once, even if it applies to many services."""
        _add(self._general, text)

    def disable(self) -> None:
        """Disable the service, because it was disabled before."""
        self.put("enabled", False)

    def turn_off(self, why: str) -> None:
        """Disable the service: it would admit too many clients, or do something else."""
        self.disable()
        _add(self._why_off, why)

    def give_up(self, why: str) -> None:
        """Leave the service out, because netd has no counterpart."""
        _add(self._why_none, why)

    def finished(self) -> Service:
        """Return the result."""
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
