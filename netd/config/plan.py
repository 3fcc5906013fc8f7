"""The difference between two configurations: the plan of a reload. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from netd.config.toml import literal
from netd.model.service import Configuration, Service, Stamp
from netd.model.socket_options import differences
from netd.model.tls import Tls


class Action(StrEnum):
    """What a reload does with a service."""

    KEEP = "keep"
    CHANGE = "change"
    ADD = "add"
    DRAIN = "drain"
    """It is disabled now: like ``REMOVE``, but it is still in the files."""
    REMOVE = "remove"


@dataclass(frozen=True)
class Step:
    """What a reload does with one service, and why."""

    service: str
    action: Action
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.action} {self.service}" + (f": {', '.join(self.why)}" if self.why else "")


@dataclass(frozen=True)
class Setting:
    """A key of the daemon itself with a changed value; None if it has no value."""

    key: str
    old: object
    new: object
    needs_restart: bool = False
    """Whether the old value stays in effect until netd is restarted."""

    def __str__(self) -> str:
        if self.needs_restart:
            return f"keep {self.key} as it is until netd is restarted"
        return f"change {self.key}: {_shown(self.old)} to {_shown(self.new)}"


def _shown(value: object) -> str:
    return "nothing" if value is None else literal(value)


@dataclass(frozen=True)
class Plan:
    """What a reload does: all services, in the order of the new configuration, and the daemon."""

    steps: tuple[Step, ...]
    settings: tuple[Setting, ...] = ()

    def services(self, *actions: Action) -> frozenset[str]:
        """Return the names of the services with one of *actions*."""
        return frozenset(step.service for step in self.steps if step.action in actions)


def plan(old: Configuration, new: Configuration) -> Plan:
    """Return what a reload from *old* to *new* does.

    If one service of a worker changes, all services of that worker do, since the worker is
    replaced.
    """
    before = {service.name: service for service in old.services}
    after = {service.name: service for service in new.services}
    why = {
        name: _differences(before[name], service, old, new)
        for name, service in after.items()
        if name in before
    }
    # A second pass over all services: one worker can have several of them.
    restarted = _restarted(before, after, why)
    steps = [
        _step(name, name in before, why.get(name, ()), service.worker in restarted, service.worker)
        for name, service in after.items()
    ]
    gone = [name for name in before if name not in after]
    steps += [Step(name, Action.DRAIN if name in new.disabled else Action.REMOVE) for name in gone]
    return Plan(tuple(steps), tuple(_settings(old, new)))


_OF_THE_DAEMON: Final[Mapping[str, Callable[[Configuration], object]]] = {
    "daemon.graceful_timeout": lambda one: one.graceful_timeout,
    "daemon.drain_delay": lambda one: one.drain_delay,
    "log.format": lambda one: one.log.format,
    "log.level": lambda one: one.log.level,
    "log.connections": lambda one: one.log.connections,
    "log.file": lambda one: one.log.file,
    "admin.socket": lambda one: one.admin_socket,
}

_AT_THE_START: Final = frozenset({"admin.socket"})
"""Keys that only change when netd is restarted: netdctl must find the running daemon."""


def _settings(old: Configuration, new: Configuration) -> Iterator[Setting]:
    for key, value in _OF_THE_DAEMON.items():
        if value(old) != value(new):
            yield Setting(key, value(old), value(new), key in _AT_THE_START)


def _step(name: str, was_there: bool, why: tuple[str, ...], restarted: bool, worker: str) -> Step:
    if not was_there:
        return Step(name, Action.ADD)
    if why:
        return Step(name, Action.CHANGE, why)
    if restarted:
        return Step(name, Action.CHANGE, (f"shares worker {worker}, which is replaced",))
    return Step(name, Action.KEEP)


def _restarted(
    before: dict[str, Service], after: dict[str, Service], why: dict[str, tuple[str, ...]]
) -> frozenset[str]:
    """Return the workers with a changed service, or with another set of services."""
    changed = {after[name].worker for name, reasons in why.items() if reasons}
    joined = {service.worker for name, service in after.items() if name not in before}
    left = {
        service.worker
        for name, service in before.items()
        if name not in after or after[name].worker != service.worker
    }
    return frozenset(changed | joined | left)


def _differences(
    old: Service, new: Service, before: Configuration, after: Configuration
) -> tuple[str, ...]:
    """Return why a service has changed, in words; empty if it has not."""
    reasons = [
        field.name
        for field in fields(Service)
        if field.compare
        # These three have reasons in finer words, below.
        and field.name not in ("sources", "socket", "tls")
        and getattr(old, field.name) != getattr(new, field.name)
    ]
    reasons += differences(old.socket, new.socket)
    reasons += _tls_differences(old.tls, new.tls)
    if before.python_path != after.python_path and old.is_code:
        reasons.append("python_path")
    return (*reasons, *_changed_files(old.sources, new.sources))


def _tls_differences(old: Tls | None, new: Tls | None) -> list[str]:
    """Return why the ``[tls]`` of a service has changed: its keys, or files that it names."""
    if old == new:
        return []
    if old is None or new is None or old.without_contents() != new.without_contents():
        return ["tls"]
    return sorted({pem.path for pem in {*old.files} ^ {*new.files}})


def _changed_files(old: Iterable[Stamp], new: Iterable[Stamp]) -> tuple[str, ...]:
    """Return the files that have changed, or that only the old or only the new code imports.

    An optional module of a handler may have been added or deleted.
    """
    return tuple(sorted({stamp.path for stamp in {*old} ^ {*new}}))
