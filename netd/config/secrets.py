"""Hides secrets in what is printed. ``print-config`` output ends up in tickets and chats."""

from __future__ import annotations

import re
from typing import Final

from netd.config.document import TomlValue

HIDDEN: Final = "…"
"""The replacement of a secret."""

_KEY: Final = re.compile(
    r"passw|passphrase|secret|token|credential|(?<![a-z])(pass|pwd|auth|(api|private)?_?key)s?(?![a-z])"
)
"""A key in lower case whose value is a secret: ``db_password``, ``api_key``, not ``keyboard``."""

_VALUE: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s]*:[^/\s]+@")
"""A secret in any text, whatever its key: a private key, or a password in a URL."""


_NAMED: Final = re.compile(r"-{0,2}([\w.-]+)=.")
"""An argument or variable with a name and a value: ``--token=…``."""


def is_secret(key: str) -> bool:
    """Whether the value of *key*, a name that a handler or a program has chosen, is a secret."""
    return _KEY.search(key.lower()) is not None


def hide(value: TomlValue, secret: bool = False) -> TomlValue:
    """Return *value* with ``HIDDEN`` for each secret; the same object if it has none.

    If it is *secret*, every value in it is hidden, except for true and false.
    """
    if isinstance(value, dict):
        inner = {key: hide(value[key], secret or is_secret(key)) for key in value}
        return value if all(inner[key] is value[key] for key in value) else inner
    if isinstance(value, list):
        elements = [hide(element, secret) for element in value]
        return value if all(map(lambda new, old: new is old, elements, value)) else elements
    if isinstance(value, bool):
        return value
    return HIDDEN if secret or _holds_secret(value) else value


def _holds_secret(value: TomlValue) -> bool:
    if not isinstance(value, str):
        return False
    named = _NAMED.match(value)
    return _VALUE.search(value) is not None or (named is not None and is_secret(named[1]))
