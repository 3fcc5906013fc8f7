"""``netd.execution.active_connections``: connections that netd ends, by list or by ID."""

from __future__ import annotations

from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.execution.active_connections import ActiveConnections
from netd.execution.request import Request
from netd.model.service import Access


def gate(*deny: str) -> Gate:
    return Gate(AccessLists.of(Access(deny=deny)), None, of_unix=False)


class Scene:
    """Two connections, and what was ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.active = ActiveConnections[Request](
            lambda request: request, lambda request, why: self.ended.append((request.client, why))
        )
        for number, host in ((7, "192.0.2.1"), (8, "192.0.2.2")):
            self.active.add(number, Request(None, (host, 5), f"{host}:5", None))


def test_disconnect() -> None:
    scene = Scene()
    scene.active.disconnect(9)
    assert scene.ended == []
    scene.active.disconnect(8)
    assert scene.ended == [("192.0.2.2:5", "disconnected by an administrator")]


def test_recheck() -> None:
    scene = Scene()
    scene.active.recheck(gate("198.51.100.0/24"))
    assert scene.ended == []
    scene.active.recheck(gate("192.0.2.1"))
    assert scene.ended == [("192.0.2.1:5", "ended by the new lists: deny")]


def test_removed() -> None:
    """A connection that has ended is not ended again."""
    scene = Scene()
    scene.active.remove(7)
    assert scene.active.remove(7, None) is None
    scene.active.disconnect(7)
    scene.active.recheck(gate("192.0.2.0/24"))
    assert [client for client, _ in scene.ended] == ["192.0.2.2:5"]


def test_ended_while_it_is_looked_at() -> None:
    """Ending one may remove others."""
    numbers = [7, 8]

    def end(request: Request, why: str) -> None:
        active.remove(numbers.pop())

    active = ActiveConnections[Request](lambda request: request, end)
    for number in tuple(numbers):
        active.add(number, Request(None, ("192.0.2.1", number), "c", None))
    active.recheck(gate("192.0.2.1"))
    assert numbers == []
