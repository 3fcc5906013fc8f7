"""Hosts of server objects, for tests."""

from __future__ import annotations

import socketserver
from typing import Any


class NoHost:
    """One that nothing is wanted of."""

    def process(self, server: socketserver.BaseServer, request: Any, client_address: Any) -> None:
        raise AssertionError("process")

    def report(self, request: Any, client_address: Any) -> None:
        raise AssertionError("report")

    def suspend(self) -> None:
        raise AssertionError("suspend")

    def busy_processes(self) -> set[int]:
        raise AssertionError("busy_processes")


class FakeHost:
    """One that remembers what was wanted of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def process(self, server: socketserver.BaseServer, request: Any, client_address: Any) -> None:
        self.calls.append(("process", server, request, client_address))

    def report(self, request: Any, client_address: Any) -> None:
        self.calls.append(("report", request, client_address))

    def suspend(self) -> None:
        self.calls.append(("suspend",))

    def busy_processes(self) -> set[int]:
        return {5, 7}
