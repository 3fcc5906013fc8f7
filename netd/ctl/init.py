"""``netdctl init``: a directory with all files that a first service needs."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Final

_TEMPLATES: Final = {
    "netd.toml": "netd.toml",
    "handlers/hello.py": "hello.py",
    "netd.service": "netd.service",
}
"""The files to create, each with its template."""

_HIDDEN: Final = ("/tmp/", "/var/tmp/")
"""Directories that PrivateTmp= hides from a unit (systemd.exec(5))."""


class CannotStart(Exception):
    """Not all files were created; the text says why."""


@dataclass(frozen=True)
class Installation:
    """What the systemd unit must know about the machine; all paths absolute."""

    directory: str
    twistd: str
    user: str


def start(directory: str) -> str:
    """Create *directory* and the files in it; return the text for the operator.

    Raises CannotStart, before any file is created, if one of them exists.
    """
    installation = Installation(os.path.abspath(directory), _twistd(), _user())
    made = contents(installation)
    for name in made:
        if os.path.lexists(os.path.join(directory, name)):
            raise CannotStart(
                f"{os.path.join(directory, name)} exists, and is not overwritten: name another"
                " directory"
            )
    try:
        for name, text in made.items():
            _write(os.path.join(directory, name), text)
    except OSError as error:
        raise CannotStart(f"{error.filename}: {error.strerror}") from error
    return _instructions(directory, installation)


def contents(installation: Installation) -> Mapping[str, str]:
    """Return the text of each file, by its name in the directory. Raises CannotStart."""
    if not installation.directory.isprintable() or re.search(r"[\"'\\]", installation.directory):
        raise CannotStart(
            f"{installation.directory!a} has a character that a systemd unit cannot have in a path:"
            " name another directory"
        )
    templates = files("netd") / "templates"
    texts = {
        name: (templates / template).read_text(encoding="utf-8")
        for name, template in _TEMPLATES.items()
    }
    unit = texts["netd.service"]
    return {**texts, "netd.service": Template(unit).substitute(_values(installation))}


def _values(installation: Installation) -> Mapping[str, str]:
    """Return the value of each placeholder of the unit."""
    hidden = any(path.startswith(_HIDDEN) for path in (installation.directory, installation.twistd))
    return {
        "file": shlex.quote(os.path.join(installation.directory, "netd.service")),
        "description": _specifiers(installation.directory),
        "twistd": _argument(installation.twistd),
        "configuration": _argument(os.path.join(installation.directory, "netd.toml")),
        "directory": _specifiers(installation.directory),
        "user": installation.user,
        "writable": _quoted(installation.directory),
        "private_tmp": "no" if hidden else "yes",
    }


def _specifiers(text: str) -> str:
    """Escape % in a text (systemd.unit(5), Specifiers)."""
    return text.replace("%", "%%")


def _quoted(path: str) -> str:
    """Return a path as one word of a list (systemd.syntax(7), Quoting)."""
    text = _specifiers(path)
    return f'"{text}"' if re.search(r"[\s;]", text) else text


def _argument(path: str) -> str:
    """Return a path as one argument of a command, with $ escaped (systemd.service(5))."""
    return _quoted(path).replace("$", "$$")


def _twistd() -> str:
    """Return the twistd that belongs to this Python, or else the first one in PATH."""
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    beside = [sysconfig.get_path("scripts", scheme) for scheme in schemes]
    found = shutil.which("twistd", path=os.pathsep.join([*beside, os.environ.get("PATH", "")]))
    if found is None:
        raise CannotStart("there is no twistd for this Python: install Twisted")
    return os.path.abspath(found)


def _user() -> str:
    """Return the current user, which can read the directory and run this Python."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _write(file: str, text: str) -> None:
    os.makedirs(os.path.dirname(file) or ".", exist_ok=True)
    with open(file, "x", encoding="utf-8") as opened:
        opened.write(text)


def _instructions(directory: str, installation: Installation) -> str:
    twistd = shlex.quote(installation.twistd)
    made = [os.path.join(directory, name) for name in _TEMPLATES]
    unit = os.path.join(installation.directory, "netd.service")
    return "\n".join(
        [
            *(f"made {file}" for file in made),
            "",
            f"run it:     cd {shlex.quote(directory)} && {twistd} -n netd",
            "ask it:     nc 127.0.0.1 10040",
            f"install it: systemctl enable --now {shlex.quote(unit)}",
        ]
    )
