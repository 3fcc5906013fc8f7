"""When a service has its process replaced or killed: its bounds, and handlers that hang."""

from __future__ import annotations

from netd.execution.recycle import Recycle
from netd.model.service import Service
from netd.worker.build.link import DaemonLink


class RecycleRequest:
    """Asks the daemon to replace this process, once for each service. Any thread."""

    def __init__(self, service: Service, link: DaemonLink) -> None:
        self._service = service
        self._link = link
        self._is_requested = False

    def bounds(self) -> Recycle | None:
        """Make what counts requests and memory against the service's bounds; None without any."""
        service = self._service
        if not service.max_requests and service.max_memory is None:
            return None
        return Recycle(service.max_requests, service.max_memory, self._request)

    def handlers_hung(self, most: int, count: int) -> None:
        """*count* handlers, of *most* at a time, exceed their time and cannot be ended.

        A process whose only handler hangs serves nothing more, so it is killed. Another one goes
        on with spare threads, and is replaced when these are used up. In the reactor's thread.
        """
        if most == 1:
            self._link.handler_hung(self._service.name)
        elif count >= self._service.spare_threads:
            handlers = "handler that does" if count == 1 else "handlers that do"
            self._request(f"has {count} {handlers} not come back")

    def _request(self, why: str) -> None:
        # Two threads may both get here; the daemon ignores the second request.
        if not self._is_requested:
            self._is_requested = True
            self._link.recycle(self._service.name, why)
