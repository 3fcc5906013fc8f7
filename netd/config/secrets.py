"""Keeping secrets out of what is printed."""

from __future__ import annotations

import re
from typing import Final

from netd.config.document import TomlValue

HIDDEN: Final = "…"
"""What stands in the place of a secret."""

_KEY: Final = re.compile(
    r"passw|passphrase|secret|token|credential|(?<![a-z])(pass|pwd|auth|(api|private)?_?key)s?(?![a-z])"
)
"""In lower case, a key whose value is a secret: ``db_password``, ``API_KEY``, not ``keyboard``."""

_VALUE: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s]*:[^/\s]+@")
"""A text that has a secret in it wherever it stands: a private key, a password in a URL."""


_NAMED: Final = re.compile(r"-{0,2}([\w.-]+)=.")
"""A text that names its value, as an argument or in an environment: ``--token=…``."""


def is_secret(key: str) -> bool:
    """Whether what stands under *key*, as a handler or a program names it, should not be shown."""
    return _KEY.search(key.lower()) is not None


def hide(value: TomlValue, secret: bool = False) -> TomlValue:
    """*value* with ``HIDDEN`` for each secret; the same object if it has none.

    All of it but truth values is taken for one that is *secret*.
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
