"""Entering the environment of a service's process, and verifying that it was entered.

Limits, nice value, user and group, umask, directory, environment variables: the keys of a service
that concern its process. Workers and the probe enter it before the first line of user code.
"""

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
    """The process could not enter what *key* of its service asks for. It must end then."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def enter(owner: Owner, environment: ExecutionEnvironment) -> None:
    """Enter *environment* as *owner*, while the process has one thread. Raises NotEntered.

    The order matters. Raising a limit or the priority may need the daemon's rights, so that comes
    before they are dropped. The owner must be able to enter the directory, so that comes after.
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
    # The variables may contain TZ, which the C library has read already.
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
    """Check, as the owner, that everything is in effect. Raises NotEntered.

    A security module or a container can make a system call succeed and do nothing.
    """
    for limit in environment.limits:
        found = resource.getrlimit(_number(limit))
        if found != (limit.soft, limit.hard):
            wanted = _written(limit.soft, limit.hard)
            message = f"is still {_written(*found)}, not {wanted}"
            raise NotEntered(f"rlimits.{limit.name}", message)
    _compare("nice", environment.nice, lambda: os.getpriority(os.PRIO_PROCESS, _SELF))
    if environment.umask is not None:
        mask = environment.umask
        # umask(2) cannot be read without being set.
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
    """Both limits as text for a message."""
    both = ["unlimited" if value == UNLIMITED else str(value) for value in (soft, hard)]
    return both[0] if soft == hard else f"[{', '.join(both)}]"
