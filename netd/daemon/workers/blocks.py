"""The blocks of one worker in the scoreboards of its services."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netd.daemon.workers.runtime import ServiceRuntime
from netd.ipc.scoreboard import Counts


@dataclass(frozen=True)
class Loss:
    """What a process left behind when it ended."""

    clients: tuple[str, ...]
    """The clients whose connections were lost."""
    requests: int
    """How many requests the process had accepted, the lost ones included."""


class WorkerBlocks:
    """The blocks of worker *index*. A process writes them; the daemon clears them after its death.

    No lock is needed: the process has ended by then, and no other process has these blocks.
    """

    def __init__(self, runtime: Sequence[ServiceRuntime], index: int) -> None:
        self._runtime = runtime
        self._index = index
        self.past_counts: dict[str, Counts] = {}
        """Counts of the processes that have ended, by service."""

    @property
    def is_busy(self) -> bool:
        """Whether a handler of the worker runs."""
        return any(runtime.board.busy(self._index) for runtime in self._runtime)

    @property
    def active_clients(self) -> Iterator[tuple[str, list[str]]]:
        """The clients of the worker's active connections, by service."""
        for runtime in self._runtime:
            active = runtime.board.active_connections(self._index)
            yield runtime.name, [connection.client for connection in active]

    def settle(self) -> Loss:
        """Add the counts of a process that has ended to ``past_counts``, and clear its blocks."""
        # The daemon mapped the pages before the process started, so they outlive it.
        clients: list[str] = []
        requests = 0
        for runtime in self._runtime:
            active = runtime.board.active_connections(self._index)
            counts = runtime.board.counts(self._index)
            requests += len(active) + counts.served
            clients += [connection.client for connection in active]
            past = self.past_counts.get(runtime.name, Counts())
            self.past_counts[runtime.name] = past + counts
            # Last: what is not counted by now would be lost.
            runtime.board.clear(self._index)
        return Loss(tuple(clients), requests)
