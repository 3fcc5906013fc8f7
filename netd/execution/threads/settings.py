"""What a pool of threads is made of, and its bounds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from netd.accept.pending import PendingConnections
from netd.execution.interfaces import InnerSource, Service, Source
from netd.execution.recycle import Recycle

IDLE_TIME: Final = 10.0
"""Seconds without a request after which a thread exits if another one is idle, too."""


@dataclass(frozen=True)
class Bounds:
    """What a service does not let its threads exceed."""

    handler_timeout: float | None
    """Seconds."""
    recycle: Recycle | None
    spare: int
    """Additional threads that may replace those that are written off."""
    hung: Callable[[int], None]
    """Told, in the reactor's thread, how many threads have been written off."""


@dataclass(frozen=True)
class PoolSettings:
    """The threads of one service."""

    name: str
    maximum: int
    """Threads at a time; they are started and retired as needed."""
    thread_factory: Callable[..., threading.Thread]
    """Makes the threads. They must be daemonic: a stuck handler may not delay the process's end."""
    idle_time: float = IDLE_TIME
    bounds: Bounds | None = None

    @property
    def numbers(self) -> int:
        """How many threads there can be, those that are written off included."""
        return self.maximum + (0 if self.bounds is None else self.bounds.spare)


@dataclass(frozen=True)
class PoolSources:
    """What the threads accept from: by source, the service that serves its requests."""

    outer: Mapping[Source, Service]
    """Listeners. Accepting from them can be suspended."""
    inner: Mapping[InnerSource, Service] = field(default_factory=dict)
    """Sources that are filled from within the process, and emptied before a stop is over."""
    pending: PendingConnections | None = None
    """For sources whose connections begin with a header or TLS."""
