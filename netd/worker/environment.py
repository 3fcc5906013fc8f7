"""Entering the environment that a service's process is to have, and making sure of it."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import Final

from netd.model.environment import UNLIMITED, ExecutionEnvironment, Limit
from netd.model.service import Owner
from netd.worker import privilege

_SELF: Final = 0
"""This process, for getpriority(2)."""


class NotEntered(Exception):
    """The process could not become what *key* of its service says; it must then end."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def enter(owner: Owner, environment: ExecutionEnvironment) -> None:
    """Become *owner* in *environment*, before there is a second thread. Raises NotEntered.

    What may need a right of the daemon's comes before that is given up; what is to be done by the
    owner comes after it.
    """
    for limit in environment.limits:
        _limit(limit)
    if environment.nice is not None:
        _renice(environment.nice)
    try:
        privilege.drop(owner)
    except privilege.NotDropped as error:
        raise NotEntered("user" if owner.uid is not None else "group", str(error)) from error
    if environment.umask is not None:
        os.umask(environment.umask)
    if environment.working_directory is not None:
        _change_directory(environment.working_directory)
    os.environ.update(environment.variables)
    # TZ may be among them, which the C library has read before.
    time.tzset()
    _verify(environment)


def _limit(limit: Limit) -> None:
    try:
        resource.setrlimit(_number(limit), (limit.soft, limit.hard))
    except (OSError, ValueError) as error:
        wanted = _written(limit.soft, limit.hard)
        had = _written(*resource.getrlimit(_number(limit)))
        message = f"cannot be set to {wanted}, from {had}: {error}"
        raise NotEntered(f"rlimits.{limit.name}", message) from error


def _renice(nice: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, _SELF, nice)
    except OSError as error:
        had = os.getpriority(os.PRIO_PROCESS, _SELF)
        message = f"cannot be set to {nice}, from {had}: {error.strerror}"
        raise NotEntered("nice", message) from error


def _change_directory(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        message = f"uid {os.geteuid()} cannot enter {directory}: {error.strerror}"
        raise NotEntered("working_directory", message) from error


def _verify(environment: ExecutionEnvironment) -> None:
    """See that all of it is so, as the owner has it. Raises NotEntered."""
    for limit in environment.limits:
        found = resource.getrlimit(_number(limit))
        if found != (limit.soft, limit.hard):
            wanted = _written(limit.soft, limit.hard)
            message = f"is still {_written(*found)}, not {wanted}"
            raise NotEntered(f"rlimits.{limit.name}", message)
    _compare("nice", environment.nice, lambda: os.getpriority(os.PRIO_PROCESS, _SELF))
    if environment.umask is not None:
        mask = environment.umask
        _compare("umask", mask, lambda: os.umask(mask))
    directory = environment.working_directory
    if directory is not None and not os.path.samefile(directory, "."):
        raise NotEntered("working_directory", f"is still {os.getcwd()}, not {directory}")


def _compare(key: str, wanted: int | None, read: Callable[[], int]) -> None:
    if wanted is not None and (found := read()) != wanted:
        raise NotEntered(key, f"is still {found}, not {wanted}")


def _number(limit: Limit) -> int:
    number: int = getattr(resource, f"RLIMIT_{limit.name.upper()}")
    return number


def _written(soft: int, hard: int) -> str:
    """The two limits for a message."""
    both = ["unlimited" if value == UNLIMITED else str(value) for value in (soft, hard)]
    return both[0] if soft == hard else f"[{', '.join(both)}]"
