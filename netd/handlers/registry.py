"""Handlers that a configuration names by a word: netd's own, and those of installed plugins.

A package provides one by a module ``twisted/plugins/ANYTHING.py`` (no ``__init__.py`` beside it)
that says ``finger = NamedHandler("finger", "fingerd.handlers:Finger", "who is logged in")``.
The module is imported to see what it has, so it leaves the import of the handler to netd.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from twisted.logger import Logger
from twisted.plugin import IPlugin, getPlugins
from zope.interface import Attribute, Interface, implementer

from netd.model.service import Reference

_log: Final = Logger()


class INamedHandler(Interface):
    """A handler that ``handler = "NAME"`` of a service stands for."""

    name: str = Attribute("The word in the configuration; has no colon.")
    reference: str = Attribute('Where the handler is: "module:Class".')
    description: str = Attribute("A few words for people.")


@implementer(INamedHandler, IPlugin)
@dataclass(frozen=True)
class NamedHandler:
    """A named handler, for a module in ``twisted/plugins`` to make."""

    name: str
    reference: str
    description: str


class UnknownName(LookupError):
    """No handler has this name; the text says which have a similar one."""

    def __init__(self, name: str, near: list[str]) -> None:
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        super().__init__(f"no handler is registered as {name!r}{hint}")
        self.near = near


OWN: Final = tuple(
    NamedHandler(name, f"netd.handlers.small:{name.capitalize()}", description)
    for name, description in (
        ("echo", "sends back what it receives (RFC 862)"),
        ("discard", "throws away what it receives (RFC 863)"),
        ("chargen", "sends characters (RFC 864)"),
        ("daytime", "tells date and time for people (RFC 867)"),
        ("time", "tells the seconds since 1900 (RFC 868)"),
    )
)


Plugins = Callable[[], Iterable[Any]]
"""Gives the handlers of other packages."""


def installed() -> Iterable[Any]:
    """The handlers of installed plugins.

    Imports the modules of ``twisted.plugins`` that have changed, or have handlers: 0.1 s the
    first time and 10 ms later. What a broken one raises is logged by Twisted.
    """
    return getPlugins(INamedHandler)


def find(name: str, plugins: Plugins = installed) -> Reference:
    """Return what a name stands for. Raises UnknownName, which knows similar names.

    Asks *plugins* only for what is no name of netd's own, and may be one.
    """
    for handler in OWN:
        if handler.name == name:
            return _reference(handler)
    found = merged(OWN, plugins()) if ":" not in name else {}
    if name in found:
        return _reference(found[name])
    raise UnknownName(name, difflib.get_close_matches(name, found, 3))


def registered(plugins: Plugins = installed) -> dict[str, Any]:
    """All handlers by name, netd's own first, each an INamedHandler."""
    return merged(OWN, plugins())


def merged(own: Iterable[Any], others: Iterable[Any]) -> dict[str, Any]:
    """Join *own* handlers and those of *others*, whose faults and duplicates are logged."""
    found = {handler.name: handler for handler in own}
    for handler in sorted(filter(_is_sound, others), key=lambda one: (one.name, one.reference)):
        first = found.setdefault(handler.name, handler)
        if first.reference != handler.reference:
            _log.warn(
                "two handlers are called {name}: {first} is used, {other} is not",
                name=handler.name,
                first=first.reference,
                other=handler.reference,
            )
    return found


def _is_sound(handler: Any) -> bool:
    try:
        _reference(handler)
        if isinstance(handler.name, str) and handler.name and ":" not in handler.name:
            return True
        why = "its name is to be a word without a colon"
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    _log.warn("a plugin's handler is left out, {handler!r}: {why}", handler=handler, why=why)
    return False


def _reference(handler: Any) -> Reference:
    """Read ``module:Class``. Raises ValueError."""
    module, colon, name = handler.reference.partition(":")
    if not (module and colon and name.isidentifier()):
        raise ValueError(f'reference {handler.reference!r} is not "module:Class"')
    return Reference(module, name)
