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
"""Characters of a service's name, of the 100 that netd takes: the rest is for a number after it."""

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Imported:
    """What an import found."""

    text: str
    """The configuration, as TOML."""
    problems: tuple[Problem, ...]
    """Lines that could not be read, in order of place. What has one is off, or left out."""


def imported(files: Iterable[str], machine: Machine) -> Imported:
    """Read *files*, some of which may be directories, as one configuration.

    What a file is shows in its first line that says something. Raises ConfigurationError when one
    of *files* cannot be read.
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
    """The files and what is in them, those of a directory as xinetd's ``includedir`` has it."""
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
    """All services with names of their own, and no two on the same address."""
    hidden = {service.name for service in of_xinetd}
    ordered = of_xinetd + [_hidden(service, hidden) for service in of_inetd]
    # A table that netd refuses is no reason to turn another service off, so it goes first.
    return _compatible(_unshared(_acceptable(_named(ordered), machine)), machine)


def _hidden(service: Service, names: set[str]) -> Service:
    """A line of inetd.conf counts for Debian's xinetd if xinetd has no service of that name."""
    if service.name not in names or not service.is_enabled:
        return service
    return _turned_off(
        service, f"{service.name} is in xinetd's files too, and that counts, even when it is off"
    )


def _named(found: list[Service]) -> list[Service]:
    request: set[str] = set()
    named = []
    for service in found:
        name = next(name for name in _names(service) if name not in request)
        request.add(name)
        named.append(replace(service, name=name))
    return named


def _names(service: Service) -> Iterator[str]:
    """Names for a service, the best first."""
    name = _NOT_IN_NAMES.sub("-", service.name).lstrip("_.-")[:LONGEST_NAME] or "service"
    yield name
    for description in service.listen[:1]:
        yield f"{name}-{description.partition(':')[0]}"
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _unshared(found: list[Service]) -> list[Service]:
    """An address goes to the first of the services that have it and are not off."""
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
    """Services that netd would refuse by themselves are refused.

    That an account, a program or a host is not there depends on the machine, and netd checks a
    service that is off, too. Services that are off have nothing to do with each other.
    """
    off = {service.name: {**service.table, "enabled": False} for service in found if service.table}
    refusals = machine.refusals(off)
    return [
        replace(service, why_refused=tuple(refusals.get(service.name, ()))) for service in found
    ]


def _compatible(found: list[Service], machine: Machine) -> list[Service]:
    """Services that netd would refuse beside each other are off: all but the first of them.

    Different texts can stand for one address.
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
    """The lines of the configuration."""
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
