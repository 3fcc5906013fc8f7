"""Messages between the daemon (or ``netdctl check``) and a probe process.

The requests are one JSON document on the probe's standard input. The replies are one line of JSON
for each service on its standard output. They come from a process that has imported a user's module,
so ``decode_reply`` checks every field.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from netd.model.environment import INHERITED, ExecutionEnvironment, Limit
from netd.model.service import Owner, Plugin, Program, Reference, Runs

LONGEST_REPLY: Final = 8 << 20
"""Bytes of a reply that the probe reads from the process that has imported a service. The paths of
five thousand imported files are 1 MiB."""


@dataclass(frozen=True)
class ProbeRequest:
    """To the probe: report what this service runs."""

    service: str
    runs: Runs | Program | Plugin
    options: tuple[str, ...]
    """The names of the keyword arguments that the service's ``options`` will pass."""
    verify_request: Reference | None
    owner: Owner
    """The user to import as: what one user can import, another may be unable to read."""
    environment: ExecutionEnvironment = INHERITED


@dataclass(frozen=True)
class ProbeRequests:
    """To the probe: all requests of one run. The replies come in the same order."""

    python_path: tuple[str, ...]
    timeout: float
    """Seconds for the imports of one service; the probe then kills the importing process."""
    services: tuple[ProbeRequest, ...]


Requests = Literal["stream", "datagram", "any"]
"""The kind of requests that a class can serve, by its base class."""

Execution = Literal["blocking", "reactor", "program", "plugin"]
"""How a service can be run: in threads and processes, where it may block; in the reactor, where it
may not; as a program; or as a twistd plugin."""

MixIn = Literal["thread", "process"]
"""The concurrency that a server class asks for by ThreadingMixIn or ForkingMixIn."""


@dataclass(frozen=True)
class ServerFacts:
    """What the bases and attributes of a server class tell about it."""

    mixin: MixIn | None = None
    """None: the class handles one request at a time."""
    reuse_port: bool = False
    backlog: int | None = None
    """``request_queue_size``, if a class outside the standard library sets it."""
    datagram_size: int | None = None
    """``max_packet_size``, of datagram servers."""
    children: int | None = None
    """``max_children``, of forking servers."""


@dataclass(frozen=True)
class Facts:
    """From the probe: what a service runs, found by importing it."""

    service: str
    requests: Requests
    execution: Execution
    sources: tuple[str, ...]
    """The files that were imported from ``python_path``."""
    server: ServerFacts | None = None
    """Facts about a server class. None for a function that makes servers: the probe calls none."""
    threads: bool = False
    """Whether the imports have started threads, which would not exist in a fork."""
    notes: tuple[str, ...] = ()
    """Warnings: netd runs the service, but something in it may surprise its author."""


@dataclass(frozen=True)
class ProbeError:
    """From the probe: the service cannot be run."""

    service: str
    key: str
    """The key of the service that causes this, such as ``handler``."""
    message: str
    """A sentence that continues after the key."""


ProbeReply = Facts | ProbeError


def encode_requests(requests: ProbeRequests) -> str:
    """Return the requests as JSON."""
    return json.dumps(asdict(requests))


def decode_requests(text: str) -> ProbeRequests:
    """Read what ``encode_requests`` wrote. Only for text from the daemon."""
    values = json.loads(text)
    services = tuple(
        ProbeRequest(
            one["service"],
            _runs(one["runs"]),
            tuple(one["options"]),
            _reference(one["verify_request"]),
            Owner(**one["owner"]),
            _environment(one["environment"]),
        )
        for one in values["services"]
    )
    return ProbeRequests(tuple(values["python_path"]), values["timeout"], services)


def _runs(values: dict[str, Any]) -> Runs | Program | Plugin:
    # No tag in the JSON: the three have different fields.
    if "path" in values:
        return Program(values["path"], tuple(values["arguments"]), values["wait"])
    if "name" in values:
        return Plugin(values["name"], tuple(values["arguments"]))
    reference = Reference(**values["reference"])
    return Runs(values["key"], reference, _reference(values["handler"]))


def _reference(values: dict[str, str] | None) -> Reference | None:
    return Reference(**values) if values else None


def _environment(values: dict[str, Any]) -> ExecutionEnvironment:
    variables = tuple((name, value) for name, value in values.pop("variables"))
    limits = tuple(Limit(**limit) for limit in values.pop("limits"))
    return ExecutionEnvironment(**values, variables=variables, limits=limits)


def encode_reply(reply: ProbeReply) -> str:
    """Return a reply as a line of JSON, without its newline."""
    return json.dumps([type(reply).__name__, asdict(reply)])


def decode_reply(line: str) -> ProbeReply:
    """Read a line that may be one of ``encode_reply``. Raises ValueError for anything else."""
    try:
        kind, values = json.loads(line)
        if kind == ProbeError.__name__:
            return ProbeError(str(values["service"]), str(values["key"]), str(values["message"]))
        if kind == Facts.__name__:
            return Facts(
                service=str(values["service"]),
                requests=_one_of(_REQUESTS, values["requests"]),
                execution=_one_of(_EXECUTIONS, values["execution"]),
                sources=tuple(map(str, values["sources"])),
                server=None if values["server"] is None else _server(values["server"]),
                threads=bool(values["threads"]),
                notes=tuple(map(str, values["notes"])),
            )
    # RecursionError: JSON nests as deep as the process likes.
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        pass
    raise ValueError(f"not a probe reply: {line[:200]!r}")


def _server(values: dict[str, Any]) -> ServerFacts:
    return ServerFacts(
        mixin=None if values["mixin"] is None else _one_of(_MIXINS, values["mixin"]),
        reuse_port=bool(values["reuse_port"]),
        backlog=_number(values["backlog"]),
        datagram_size=_number(values["datagram_size"]),
        children=_number(values["children"]),
    )


def _one_of(known: frozenset[str], value: Any) -> Any:
    if not isinstance(value, str) or value not in known:
        raise ValueError(value)
    return value


def _number(value: Any) -> int | None:
    # bool is a subclass of int, and True would pass for a backlog of 1.
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(value)
    return value


_REQUESTS: Final = frozenset({"stream", "datagram", "any"})
_EXECUTIONS: Final = frozenset({"blocking", "reactor", "program", "plugin"})
_MIXINS: Final = frozenset({"thread", "process"})
