"""A start with netd: a directory with all that a first service needs."""

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
"""What is made, and from which template."""

_TEMPORARY: Final = ("/tmp/", "/var/tmp/")
"""What PrivateTmp= of systemd.exec(5) puts out of sight."""


class CannotStart(Exception):
    """Nothing was made, or not all of it; the text says why."""


@dataclass(frozen=True)
class Location:
    """What the systemd unit has to know of a machine; all paths absolute."""

    directory: str
    twistd: str
    user: str


def start(directory: str) -> str:
    """Make the files in *directory*, and the directory; return what to tell the person.

    Raises CannotStart when one of them is there already, before any is made.
    """
    place = Location(os.path.abspath(directory), _twistd(), _user())
    made = contents(place)
    for name in made:
        if os.path.lexists(os.path.join(directory, name)):
            raise CannotStart(
                f"{os.path.join(directory, name)} is there already, and nothing is overwritten:"
                " take another directory"
            )
    try:
        for name, text in made.items():
            _write(os.path.join(directory, name), text)
    except OSError as error:
        raise CannotStart(f"{error.filename}: {error.strerror}") from error
    return _said(directory, place)


def contents(place: Location) -> Mapping[str, str]:
    """The text of each file, by its name in the directory. Raises CannotStart."""
    if not place.directory.isprintable() or re.search(r"[\"'\\]", place.directory):
        raise CannotStart(
            f"{place.directory!a} has a character that a systemd unit cannot have in a path:"
            " take another directory"
        )
    templates = files("netd") / "templates"
    texts = {
        name: (templates / template).read_text(encoding="utf-8")
        for name, template in _TEMPLATES.items()
    }
    unit = texts["netd.service"]
    return {**texts, "netd.service": Template(unit).substitute(_values(place))}


def _values(place: Location) -> Mapping[str, str]:
    """What the unit has in the place of each name."""
    hidden = any(path.startswith(_TEMPORARY) for path in (place.directory, place.twistd))
    return {
        "file": shlex.quote(os.path.join(place.directory, "netd.service")),
        "description": _specifiers(place.directory),
        "twistd": _argument(place.twistd),
        "configuration": _argument(os.path.join(place.directory, "netd.toml")),
        "directory": _specifiers(place.directory),
        "user": place.user,
        "writable": _quoted(place.directory),
        "private_tmp": "no" if hidden else "yes",
    }


def _specifiers(text: str) -> str:
    """A text in which % means itself (systemd.unit(5), Specifiers)."""
    return text.replace("%", "%%")


def _quoted(path: str) -> str:
    """A path as one word of a list (systemd.syntax(7), Quoting)."""
    text = _specifiers(path)
    return f'"{text}"' if re.search(r"[\s;]", text) else text


def _argument(path: str) -> str:
    """A path as one argument of a command, where $ means itself (systemd.service(5))."""
    return _quoted(path).replace("$", "$$")


def _twistd() -> str:
    """The twistd that was installed with this Python, else the one that a shell would find."""
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    beside = [sysconfig.get_path("scripts", scheme) for scheme in schemes]
    found = shutil.which("twistd", path=os.pathsep.join([*beside, os.environ.get("PATH", "")]))
    if found is None:
        raise CannotStart("there is no twistd beside this Python: install Twisted there")
    return os.path.abspath(found)


def _user() -> str:
    """Who makes the start, and so who can read the directory and run this Python."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _write(file: str, text: str) -> None:
    os.makedirs(os.path.dirname(file) or ".", exist_ok=True)
    with open(file, "x", encoding="utf-8") as opened:
        opened.write(text)


def _said(directory: str, place: Location) -> str:
    made = [os.path.join(directory, name) for name in _TEMPLATES]
    unit = os.path.join(place.directory, "netd.service")
    return "\n".join(
        [
            *(f"made {file}" for file in made),
            "",
            f"run it:     cd {shlex.quote(directory)} && {shlex.quote(place.twistd)} -n netd",
            "ask it:     nc 127.0.0.1 10040",
            f"install it: systemctl enable --now {shlex.quote(unit)}",
        ]
    )
