"""Handlers that a configuration names by a word: netd's own, and those of installed packages.

A package provides one by a module ``twisted/plugins/ANYTHING.py`` (without an ``__init__.py``
beside it) that contains
``finger = NamedHandler("finger", "fingerd.handlers:Finger", "who is logged in")``. The daemon
imports that module to read this line, so the module must not import the handler.
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
    """A handler that a service names by ``handler = "NAME"``."""

    name: str = Attribute("The word in the configuration, without a colon.")
    reference: str = Attribute('The handler: "module:Class".')
    description: str = Attribute("What the handler does, in a few words.")


@implementer(INamedHandler, IPlugin)
@dataclass(frozen=True)
class NamedHandler:
    """A named handler; a module in ``twisted/plugins`` makes one. See ``INamedHandler``."""

    name: str
    reference: str
    description: str


class UnknownName(LookupError):
    """No handler has this name. The text suggests similar names, which *near* lists."""

    def __init__(self, name: str, near: list[str]) -> None:
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        super().__init__(f"no handler is registered as {name!r}{hint}")
        self.near = near


# References, not classes: the daemon imports this module, but no handler.
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
"""Returns the handlers of other packages, which may be any objects."""


def installed() -> Iterable[Any]:
    """Return the handlers of installed packages.

    Imports the modules of ``twisted.plugins`` that have handlers or have changed: 0.1 s the first
    time, 10 ms later. Twisted logs what a broken module raises.
    """
    return getPlugins(INamedHandler)


def find(name: str, plugins: Plugins = installed) -> Reference:
    """Return the handler that *name* stands for. Raises UnknownName.

    *plugins* is called only for a name that is not netd's own: imports cost time, and a package
    cannot replace a handler of netd's.
    """
    for handler in OWN:
        if handler.name == name:
            return _reference(handler)
    # "module:Class" is no name, however badly it is written.
    found = merged(OWN, plugins()) if ":" not in name else {}
    if name in found:
        return _reference(found[name])
    raise UnknownName(name, difflib.get_close_matches(name, found, 3))


def merged(own: Iterable[Any], others: Iterable[Any]) -> dict[str, Any]:
    """Return all handlers by name, *own* first. Logs duplicates, and faults of *others*."""
    found = {handler.name: handler for handler in own}
    # Sorted, so that the same one of two is used on every start.
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
        why = "its name must be a word without a colon"
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    _log.warn("a plugin's handler is ignored, {handler!r}: {why}", handler=handler, why=why)
    return False


def _reference(handler: Any) -> Reference:
    """Read ``module:Class``. Raises ValueError."""
    module, colon, name = handler.reference.partition(":")
    if not (module and colon and name.isidentifier()):
        raise ValueError(f'reference {handler.reference!r} is not "module:Class"')
    return Reference(module, name)
