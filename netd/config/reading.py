"""Functions that read a value of a configuration file, or raise ValueError.

A message that starts with "must be" says only what would be right; ``messages`` appends the value.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable
from typing import Final, TypeVar

from netd.admission.entries import canonical
from netd.config.text import quoted, shown
from netd.handlers.registry import UnknownName, find
from netd.model.service import Owner, Reference

_T = TypeVar("_T")

_REFERENCE: Final = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")

LONGEST_NAME: Final = 100
"""Characters of a name. It is part of a process's arguments, and of a name for memfd_create(2),
which has a limit of 249 bytes."""

NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST_NAME - 1}}}")

LARGEST_ID: Final = 2**32 - 2
"""The largest number of a user or a group. The next one, -1, means "leave it" (chown(2))."""

LARGEST_DATAGRAM: Final = 1 << 20
"""Bytes; UDP ends at 65 507, a Unix socket at its send buffer."""


LONGEST_PROTOCOL: Final = 255
"""Bytes of a name in ALPN (RFC 7301, 3.1)."""


def text_as(read: Callable[[str], _T]) -> Callable[[object], _T]:
    """Return a validator for a string that *read* reads, or raises ValueError for."""

    def validate(value: object) -> _T:
        if not isinstance(value, str):
            raise ValueError("must be a string")
        return read(value)

    return validate


def check_name(text: str) -> str:
    """Return *text* if it can be the name of a service or a worker. Raises ValueError."""
    if NAME.fullmatch(text) is None:
        raise ValueError(
            f"{shown(text)} is no name: write letters and digits, and . _ - but not first, "
            f"{LONGEST_NAME} characters at most"
        )
    return text


def reference(form: str) -> Callable[[str], Reference]:
    def read(text: str) -> Reference:
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise ValueError(f'must be "{form}"')
        return Reference(match["module"], match["name"])

    return read


class_reference = reference("module:Class")


def handler(text: str) -> Reference:
    """Read a handler class, or the name that a plugin has registered for one."""
    if ":" in text:
        return class_reference(text)
    try:
        return find(text)
    except UnknownName as error:
        if not error.near:
            raise ValueError('must be "module:Class" or the name of a registered handler') from None
        near = " or ".join(map(quoted, error.near))
        raise ValueError(
            f"no handler is registered as {shown(text)}; did you mean {near}?"
        ) from None


def proxy(text: str) -> tuple[str, ...]:
    """Read a proxy as its networks.

    An entry about credentials is refused: netd must know whether the peer is a proxy before it
    knows the credentials of the client.
    """
    entries = canonical(text)
    if entries[0].startswith(("uid:", "gid:", "certificate:")):
        raise ValueError(f'{shown(text)} is no proxy: write an address, a network or "unix"')
    return entries


def application_protocol(text: str) -> str:
    if not text or not text.isascii() or len(text) > LONGEST_PROTOCOL:
        raise ValueError(
            f"{shown(text)} is no protocol: write 1 to {LONGEST_PROTOCOL} ASCII characters"
        )
    return text


def argument(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"{shown(text)} has a NUL character, which an argument cannot have")
    return text


def path(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    if "\0" in text:
        raise ValueError(f"{shown(text)} has a NUL character, which a path cannot have")
    return text


def user(value: object) -> Owner:
    """Read a user, by name or number. If the system knows it, its primary group comes with it."""
    # By number the user need not exist: containers often run without a passwd entry.
    if not isinstance(value, str):
        uid = _number(value, "user")
        try:
            return Owner(uid, pwd.getpwuid(uid).pw_gid)
        except KeyError:
            return Owner(uid)  # a uid needs no entry; a ``group`` beside it then gives the gid
    try:
        entry = pwd.getpwnam(_account(value, "user"))
    except KeyError:
        raise _unknown(value, "user") from None
    return Owner(entry.pw_uid, entry.pw_gid)


def group(value: object) -> int:
    """Read a group, by name or number."""
    if not isinstance(value, str):
        return _number(value, "group")
    try:
        return grp.getgrnam(_account(value, "group")).gr_gid
    except KeyError:
        raise _unknown(value, "group") from None


def _account(text: str, kind: str) -> str:
    if "\0" in text:  # the look-up would raise ValueError with a text of its own
        raise _unknown(text, kind)
    return text


def _unknown(text: str, kind: str) -> ValueError:
    return ValueError(
        f"there is no {kind} {shown(text)}: write a name that this system knows, or a number "
        "without quotes"
    )


def _number(value: object, kind: str) -> int:
    # True is an int in Python, but no number in TOML.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_ID:
        raise ValueError(f"must be a {kind}'s name, or a number from 0 to {LARGEST_ID}")
    return value


def positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be longer than 0 s")
    return seconds


def datagram(size: int) -> int:
    if not 1 <= size <= LARGEST_DATAGRAM:
        raise ValueError(f"must be from 1 to {LARGEST_DATAGRAM} bytes")
    return size
