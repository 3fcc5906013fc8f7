"""The lifecycles of a pool's services."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netd.daemon.lifecycle import Lifecycle
from netd.daemon.states import NOT_ACCEPTING, SERVICE, ServiceEvent, ServiceState


class ServiceStates:
    """A lifecycle for each of *services*, by name."""

    def __init__(self, services: Iterable[str]) -> None:
        self._lives = {
            name: Lifecycle(f"service {name}", SERVICE, ServiceState.STARTING) for name in services
        }

    def __contains__(self, service: object) -> bool:
        return service in self._lives

    def __iter__(self) -> Iterator[str]:
        return iter(self._lives)

    def __getitem__(self, service: str) -> ServiceState:
        return self._lives[service].state

    def accepts(self, service: str) -> bool:
        """Whether *service* is neither suspended nor about to be."""
        return self[service] not in NOT_ACCEPTING

    def on(self, service: str, event: ServiceEvent) -> bool:
        """Record an event of one service. Return whether its state changed."""
        before = self[service]
        self._lives[service].on(event)
        return self[service] is not before

    def on_all(self, event: ServiceEvent) -> None:
        """Record an event of all services."""
        for life in self._lives.values():
            life.on(event)

    def all_stopped(self) -> None:
        """Record that the last worker has exited. Idempotent."""
        for life in self._lives.values():
            # A pool may be looked at again after its end.
            if life.state is not ServiceState.STOPPED:
                life.on(ServiceEvent.WORKERS_EXITED)
