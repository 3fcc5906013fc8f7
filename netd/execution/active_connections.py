"""The active connections of a listener, by their IDs, so that netd can end one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from netd.admission.gate import Gate
from netd.execution.request import Request

BY_LISTS: Final = "ended by the new lists"
DISCONNECTED: Final = "disconnected by an administrator"
"""Why netd has ended a connection."""

_T = TypeVar("_T")


class ActiveConnections(Generic[_T]):
    """Connections that can be ended from outside; *_T* is what an execution ends one by.

    *request_of* says what the rules are asked about, *expel* ends a connection and logs why.
    ``add`` and ``remove`` are single operations on a dictionary, so several threads may call them
    while another one looks.
    """

    def __init__(
        self, request_of: Callable[[_T], Request], expel: Callable[[_T, str], None]
    ) -> None:
        self._by_id: dict[int, _T] = {}
        self._request_of = request_of
        self._expel = expel
        self.add = self._by_id.__setitem__
        self.remove = self._by_id.pop

    def recheck(self, gate: Gate) -> None:
        """End the connections that *gate* refuses."""
        for connection in list(self._by_id.values()):
            reason = gate.refuses(*self._request_of(connection).facts)
            if reason is not None:
                self._expel(connection, f"{BY_LISTS}: {reason}")

    def disconnect(self, number: int) -> None:
        """End the connection with this ID, if it is one of these."""
        connection = self._by_id.get(number)
        if connection is not None:
            self._expel(connection, DISCONNECTED)
