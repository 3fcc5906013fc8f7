"""What lies between two configurations: the plan of a reload, as pure code."""

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
    """What becomes of a service."""

    KEEP = "keep"
    CHANGE = "change"
    ADD = "add"
    DRAIN = "drain"
    """It is not enabled any more."""
    REMOVE = "remove"


@dataclass(frozen=True)
class Step:
    """What becomes of one service, and why."""

    service: str
    action: Action
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.action} {self.service}" + (f": {', '.join(self.why)}" if self.why else "")


@dataclass(frozen=True)
class Setting:
    """A key of the daemon's own that has another value; None is none."""

    key: str
    old: object
    new: object
    needs_restart: bool = False
    """Whether it stays as it is until netd is started anew."""

    def __str__(self) -> str:
        if self.needs_restart:
            return f"keep {self.key} as it is until netd is started anew"
        return f"change {self.key}: {_shown(self.old)} to {_shown(self.new)}"


def _shown(value: object) -> str:
    return "nothing" if value is None else literal(value)


@dataclass(frozen=True)
class Plan:
    """What becomes of all services, in the order of the new configuration, and of the daemon."""

    steps: tuple[Step, ...]
    settings: tuple[Setting, ...] = ()

    def services(self, *actions: Action) -> frozenset[str]:
        """Return the names of the services with one of *actions*."""
        return frozenset(step.service for step in self.steps if step.action in actions)


def plan(old: Configuration, new: Configuration) -> Plan:
    """Say what becomes of each service when *new* takes the place of *old*.

    Services that share a worker share their fate, since it is the worker that is replaced.
    """
    before = {service.name: service for service in old.services}
    after = {service.name: service for service in new.services}
    why = {
        name: _differences(before[name], service, old, new)
        for name, service in after.items()
        if name in before
    }
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
"""Keys that only a new start takes."""


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
    """The workers of which something changes: a service, or which services there are."""
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
    """Why a service has changed, in words; empty if it has not."""
    reasons = [
        field.name
        for field in fields(Service)
        if field.compare
        and field.name not in ("sources", "socket", "tls")
        and getattr(old, field.name) != getattr(new, field.name)
    ]
    reasons += differences(old.socket, new.socket)
    reasons += _tls_differences(old.tls, new.tls)
    if before.python_path != after.python_path and old.is_code:
        reasons.append("python_path")
    return (*reasons, *_changed_files(old.sources, new.sources))


def _tls_differences(old: Tls | None, new: Tls | None) -> list[str]:
    """Why the ``[tls]`` of a service has changed: what it says, or files that it names."""
    if old == new:
        return []
    if old is None or new is None or old.without_contents() != new.without_contents():
        return ["tls"]
    return sorted({pem.path for pem in {*old.files} ^ {*new.files}})


def _changed_files(old: Iterable[Stamp], new: Iterable[Stamp]) -> tuple[str, ...]:
    """The files that are others now, or are imported only before or only after.

    A module that a handler can do without may have been written, or deleted.
    """
    return tuple(sorted({stamp.path for stamp in {*old} ^ {*new}}))
