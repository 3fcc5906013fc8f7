"""Files of inetd and xinetd to one configuration of netd."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from netd.config import toml
from netd.ctl.inetd.conversion import converted
from netd.ctl.inetd.draft import Service
from netd.ctl.inetd.inetd import services
from netd.ctl.inetd.lines import significant
from netd.ctl.inetd.machine import Machine
from netd.ctl.inetd.xinetd import KEYWORDS, Reader
from netd.model.problem import ConfigurationError, Problem

LONGEST_NAME: Final = 90
"""Most characters of a service's name. netd allows 100; the rest is for a number after it."""

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Imported:
    """The result of an import."""

    text: str
    """The configuration, as TOML."""
    problems: tuple[Problem, ...]
    """Lines that could not be read, sorted by location. Their services are off, or left out."""


def imported(files: Iterable[str], machine: Machine) -> Imported:
    """Read *files*, some of which may be directories, as one configuration.

    The first significant line shows the format of a file. Raises ConfigurationError if one of
    *files* cannot be read.
    """
    xinetd = Reader(machine)
    contents = _contents(files, machine, xinetd)
    found: list[Service] = []
    problems: list[Problem] = []
    for file, data in contents:
        if _is_xinetd(file, data):
            xinetd.read(file, data)
        else:
            of_inetd, wrong = services(file, data, machine)
            found += of_inetd
            problems += wrong
    of_xinetd = []
    for entry in xinetd.entries():
        service, wrong = converted(entry, machine)
        of_xinetd.append(service)
        problems += wrong
    problems = sorted({*problems, *xinetd.problems()})
    lines = _document(_sorted_out(of_xinetd, found, machine), xinetd.skipped, problems)
    return Imported("\n".join(lines) + "\n", tuple(problems))


def _contents(files: Iterable[str], machine: Machine, xinetd: Reader) -> list[tuple[str, bytes]]:
    """Return the files with their contents, and for a directory those that ``includedir`` reads."""
    found = []
    problems = []
    for file in files:
        try:
            names = machine.listing(file)
            paths = [file] if names is None else xinetd.read_directory(file, names)
            found += [(path, machine.read(path)) for path in paths]
        except OSError as error:
            text = f"cannot read: {error.strerror}"
            problems.append(Problem(error.filename or file, 1, "", text))
    if problems:
        raise ConfigurationError(problems)
    return found


def _is_xinetd(file: str, data: bytes) -> bool:
    first = next(significant(file, data), None)
    return first is not None and first.words[0] in KEYWORDS


# Services among each other.


def _sorted_out(
    of_xinetd: list[Service], of_inetd: list[Service], machine: Machine
) -> list[Service]:
    """Return all services with unique names, and no two enabled ones on the same address."""
    hidden = {service.name for service in of_xinetd}
    ordered = of_xinetd + [_hidden(service, hidden) for service in of_inetd]
    # First the tables that netd refuses: they must not turn off a service on the same address.
    return _compatible(_unshared(_acceptable(_named(ordered), machine)), machine)


def _hidden(service: Service, names: set[str]) -> Service:
    """Turn off a line of inetd.conf whose name xinetd's files have, as Debian's xinetd does."""
    if service.name not in names or not service.is_enabled:
        return service
    return _turned_off(
        service, f"{service.name} is in xinetd's files too, and that counts, even when it is off"
    )


def _named(found: list[Service]) -> list[Service]:
    used: set[str] = set()
    named = []
    for service in found:
        name = next(name for name in _names(service) if name not in used)
        used.add(name)
        named.append(replace(service, name=name))
    return named


def _names(service: Service) -> Iterator[str]:
    """Yield names for a service, the best first."""
    name = _NOT_IN_NAMES.sub("-", service.name).lstrip("_.-")[:LONGEST_NAME] or "service"
    yield name
    for description in service.listen[:1]:
        yield f"{name}-{description.partition(':')[0]}"
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _unshared(found: list[Service]) -> list[Service]:
    """Turn off all enabled services on an address, except for the first one."""
    owners: dict[str, Service] = {}
    unshared = []
    for service in found:
        shared = [
            (description, owners[description])
            for description in service.listen
            if service.is_enabled and description in owners
        ]
        for description, owner in shared[:1]:
            service = _turned_off(
                service,
                f"{description} is taken by {owner.name} ({owner.place}), which comes first",
            )
        if service.is_enabled:
            owners |= dict.fromkeys(service.listen, service)
        unshared.append(service)
    return unshared


def _acceptable(found: list[Service], machine: Machine) -> list[Service]:
    """Mark the services that netd would refuse on their own, with the reasons.

    An account, a program or a host may be missing on this machine, and netd also checks disabled
    services. All are disabled for this question, so that they cannot conflict with each other.
    """
    off = {service.name: {**service.table, "enabled": False} for service in found if service.table}
    refusals = machine.refusals(off)
    return [
        replace(service, why_refused=tuple(refusals.get(service.name, ()))) for service in found
    ]


def _compatible(found: list[Service], machine: Machine) -> list[Service]:
    """Turn off the services that netd would refuse together, except for the first one.

    ``_unshared`` compares texts, but different texts can mean the same address.
    """
    refusals = machine.refusals(
        {service.name: service.table for service in found if service.is_printed}
    )
    together = []
    for service in found:
        for reason in refusals.get(service.name, ()):
            service = _turned_off(service, reason)
        together.append(service)
    return together


def _turned_off(service: Service, why: str) -> Service:
    table = {"enabled": False, **service.table}
    table["enabled"] = False
    return replace(service, table=table, why_off=(*service.why_off, why))


# Writing.


def _document(found: list[Service], skipped: list[str], problems: list[Problem]) -> Iterator[str]:
    """Yield the lines of the configuration."""
    yield from toml.comment("A netd configuration, written by netdctl import.")
    yield from toml.comment("Comments say what is different from inetd and xinetd, or left out.")
    general = dict.fromkeys(text for service in found for text in service.general)
    for text in general:
        yield "#"
        yield from toml.comment(text)
    for file in skipped:
        yield "#"
        yield from toml.comment(f"{file} is left out: xinetd passes over names with . or ~.")
    for problem in problems:
        yield "#"
        yield from toml.comment(f"Not read: {problem}")
    for service in found:
        yield ""
        yield from _service(service)


def _service(service: Service) -> Iterator[str]:
    yield from toml.comment(f"From {service.place}")
    if service.why_none:
        yield from _reasons(f"Left out: {service.name}", service.why_none)
        return
    yield from _reasons("Off", service.why_off)
    for remark in service.remarks:
        yield from toml.comment(f"* {remark}", hanging="  ")
    if service.is_printed:
        yield from toml.table(("services", service.name), service.table)
        return
    yield from _reasons("A comment, because netd would refuse it here", service.why_refused)
    for line in toml.table(("services", service.name), service.table):
        yield f"# {line}".rstrip()


def _reasons(what: str, reasons: tuple[str, ...]) -> Iterator[str]:
    for reason in reasons:
        yield from toml.comment(f"{what}: {reason}.", hanging="  ")
