"""Decides how a service is executed, once the probe has reported what it runs. Pure.

The file has precedence, then the attributes of a server class, then the default.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeVar

from netd.ipc.probe import Execution, Facts, Requests, ServerFacts
from netd.model.service import (
    BACKLOG,
    DATAGRAM_SIZE,
    THREADS,
    Access,
    Concurrency,
    Program,
    Service,
)

CHILDREN: Final = 40
"""Default: most processes of a ``process`` service; the value of ForkingMixIn.max_children."""

LISTED: Final = 1000
"""Most clients of a reactor service that the scoreboard lists for each process. More are only
counted."""

_T = TypeVar("_T")


class Inconsistency(Exception):
    """A service cannot run as its table says; has the key that causes it."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def settled(service: Service, facts: Facts) -> Service:
    """Return *service* with every decision that depends on what it runs. Raises Inconsistency."""
    _check_keys(service, facts)
    _check_requests(service, facts.requests)
    server = facts.server or ServerFacts()
    concurrency = _concurrency(service, facts)
    return replace(
        service,
        concurrency=concurrency,
        threads=_threads(service, concurrency, facts),
        processes=_processes(service, concurrency, facts),
        backlog=_first(service.own.backlog, service.defaults.backlog, server.backlog, BACKLOG),
        datagram_size=_first(
            service.own.datagram_size,
            service.defaults.datagram_size,
            server.datagram_size,
            DATAGRAM_SIZE,
        ),
        forks=_forks(service, concurrency, facts),
        reuse_port=server.reuse_port,
    )


_OF_CODE: Final = ("options", "datagram_size")

_OF_ACCEPTING: Final = (
    "handler_timeout",
    "max_requests",
    "max_memory",
    "processes",
    "access",
    "proxy_protocol",
    "limits",
)

_KEYS_OF_OTHERS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "program": (_OF_CODE, "a program has no such thing"),
    "wait": (
        (*_OF_CODE, *_OF_ACCEPTING, "threads"),
        "a program with wait = true accepts its clients itself, so netd sees none of them",
    ),
    "plugin": (
        (*_OF_CODE, *_OF_ACCEPTING, "backlog", "worker", "socket"),
        "a plugin listens for itself, in a worker of its own, so netd sees none of its clients",
    ),
    "protocol": (
        ("handler_timeout",),
        "a protocol has no handler that ends: it closes its connections itself",
    ),
}
"""The keys that have no effect for a kind of service, and why."""


def _check_keys(service: Service, facts: Facts) -> None:
    """Raise Inconsistency if its own table has a key without effect for its kind."""
    keys, why = _KEYS_OF_OTHERS.get(_kind(service, facts), ((), ""))
    for key in keys:
        if key in service.written:
            raise Inconsistency(key, f"{why}: leave it out")


def _kind(service: Service, facts: Facts) -> str:
    if _accepts_itself(service):
        return "wait"
    return service.runs.key if facts.execution == "reactor" else facts.execution


def _accepts_itself(service: Service) -> bool:
    return isinstance(service.runs, Program) and service.runs.wait


def _check_requests(service: Service, requests: Requests) -> None:
    """Raise Inconsistency if what the service runs cannot serve one of its addresses."""
    if isinstance(service.runs, Program) and not service.runs.wait:
        _check_program(service)
    for address in service.listen:
        if not address.transport.is_known:
            continue
        if requests != "any" and address.transport.is_datagram != (requests == "datagram"):
            other = "streams" if requests == "datagram" else "datagrams"
            raise Inconsistency(
                service.runs.key,
                f'"{service.runs}" is for {requests}s and cannot serve {other}, which {address} '
                "listens for",
            )


def _check_program(service: Service) -> None:
    for address in service.listen:
        if address.transport.is_datagram:
            text = f"a program has no connection on {address}: with wait = true it gets the socket"
            raise Inconsistency("program", text)


def _concurrency(service: Service, facts: Facts) -> Concurrency:
    possible = _POSSIBLE[facts.execution]
    own, usual = service.own.concurrency, service.defaults.concurrency
    if own is not None:
        if own not in possible:
            raise Inconsistency("concurrency", _cannot_be_run(service, facts, own))
        return own
    # A mix-in has precedence over [defaults]: the class was written for it.
    if facts.server is not None:
        return facts.server.mixin or "thread"
    return usual if usual is not None and usual in possible else possible[0]


_POSSIBLE: Final[dict[Execution, tuple[Concurrency, ...]]] = {
    "blocking": ("thread", "process"),
    "reactor": ("reactor",),
    # A thread waits for each program.
    "program": ("thread",),
    "plugin": ("reactor",),
}


def _cannot_be_run(service: Service, facts: Facts, by: Concurrency) -> str:
    if facts.execution == "program":
        return "a program is a process of its own for each connection: leave it out"
    if facts.execution == "plugin":
        return "a plugin decides that for itself: leave it out"
    if facts.execution == "reactor":
        return f'"{by}" cannot run "{service.runs}", which is asynchronous: "reactor" can'
    return (
        f'"reactor" cannot run "{service.runs}", which may wait and would hold up all clients: '
        '"thread" and "process" can'
    )


def _threads(service: Service, concurrency: Concurrency, facts: Facts) -> int:
    own = service.own.threads
    if _accepts_itself(service):
        return len(service.listen)
    if concurrency == "reactor":
        if own is not None:
            raise Inconsistency(
                "threads", "the reactor serves all clients in one thread: leave it out"
            )
        # Connections that the scoreboard lists; it counts further ones without a record.
        return LISTED + 1
    if own is not None:
        return own
    # Such handlers may not be safe in threads: that is why they run one at a time. A number in
    # [defaults], meant for other services, must not change that.
    if concurrency == "process" or _is_single(service, facts.server):
        return 1
    return _first(service.defaults.threads, THREADS)


def _is_single(service: Service, server: ServerFacts | None) -> bool:
    """Whether it is a server without a mix-in, which handles one request at a time."""
    return server is not None and server.mixin is None and service.own.concurrency is None


def _processes(service: Service, concurrency: Concurrency, facts: Facts) -> int:
    own, usual = service.own.processes, service.defaults.processes
    if facts.execution == "plugin" or _accepts_itself(service):
        return 1
    if concurrency == "process":
        children = None if facts.server is None else facts.server.children
        return _first(own, usual, children, CHILDREN)
    if service.runs.key == "server":  # its handlers may share state in the server object
        return _first(own, 1)
    return _first(own, usual, 1)


def _forks(service: Service, concurrency: Concurrency, facts: Facts) -> bool:
    """Whether each request gets a fork of its worker, rather than a worker of its own."""
    return (
        concurrency == "process" and service.max_requests == 1 and not _why_no_forks(service, facts)
    )


def _why_no_forks(service: Service, facts: Facts) -> str | None:
    if facts.threads:
        return "its imports start threads, which a fork does not have"
    if service.access.verify_request is not None:
        return "the worker enforces verify_timeout, and cannot in a fork"
    return None


def notes_of(service: Service, facts: Facts) -> tuple[str, ...]:
    """Return the notes about a *service* that ``settled`` has returned."""
    if service.access != Access() and _kind(service, facts) in ("wait", "plugin"):
        text = "the access rules of [defaults] have no effect: it accepts its clients itself"
        return (*facts.notes, text)
    why = _why_no_forks(service, facts)
    if service.concurrency != "process" or service.max_requests != 1 or why is None:
        return facts.notes
    slow = f"every client gets a new worker, which takes longer than a fork: {why}"
    return (*facts.notes, slow)


def _first(*values: _T | None) -> _T:
    """Return the first that is not None."""
    return next(value for value in values if value is not None)
