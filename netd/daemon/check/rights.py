"""The rights that a service's environment needs and that the running daemon will not have."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from netd.model.environment import UNLIMITED, ExecutionEnvironment
from netd.model.service import Owner

_RESOURCES: Final = {
    name.removeprefix("RLIMIT_").lower(): number
    for name, number in vars(resource).items()
    if name.startswith("RLIMIT_")
}


@dataclass(frozen=True)
class Rights:
    """What a process may grant to processes that it starts."""

    lack: str | None
    """Why it can neither lower nice values nor raise hard limits; None if it can."""
    least_nice: int
    """The lowest nice value that it can set without that."""
    hard: Mapping[str, int]
    """Its hard limits, by the names of ``Limit``. It can lower them without that."""

    @classmethod
    def of_daemon(cls, owner: Owner) -> Rights:
        """The rights of this process, after twistd has switched to *owner* (``--uid``)."""
        lack = None
        if os.geteuid() != 0:
            lack = f"only root can do so, and netd was started by uid {os.geteuid()}"
        elif owner.uid not in (None, 0):
            lack = "twistd's --uid gives up the right to do so"
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        # RLIMIT_NICE counts from 20 downwards (setrlimit(2)): a limit of 1 is nice 19.
        ceiling, _ = resource.getrlimit(_RESOURCES["nice"])
        least = -20 if ceiling == UNLIMITED else min(nice, 20 - ceiling)
        hard = {name: resource.getrlimit(number)[1] for name, number in _RESOURCES.items()}
        return cls(lack, least, hard)


def lacking(environment: ExecutionEnvironment, rights: Rights) -> Iterator[tuple[str, str]]:
    """The keys of a service that need more than *rights*, with the reasons."""
    if rights.lack is None:
        return
    if environment.nice is not None and environment.nice < rights.least_nice:
        yield "nice", f"is below {rights.least_nice}, which netd itself has: {rights.lack}"
    for limit in environment.limits:
        had = rights.hard[limit.name]
        if had != UNLIMITED and (limit.hard == UNLIMITED or limit.hard > had):
            yield f"rlimits.{limit.name}", f"is above {had}, netd's own hard limit: {rights.lack}"
