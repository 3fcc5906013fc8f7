"""What the daemon asks a probe process, and what it answers: a line of JSON each.

The answers come from a process that has run a user's module, so they are read with suspicion.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from netd.model.environment import INHERITED, ExecutionEnvironment, Limit
from netd.model.service import Owner, Plugin, Program, Reference, Runs


@dataclass(frozen=True)
class ProbeRequest:
    """What does this service run?"""

    service: str
    runs: Runs | Program | Plugin
    options: tuple[str, ...]
    """The names of the keyword arguments that it is going to get."""
    verify_request: Reference | None
    owner: Owner
    environment: ExecutionEnvironment = INHERITED


@dataclass(frozen=True)
class ProbeRequests:
    """Everything that one probe is asked."""

    python_path: tuple[str, ...]
    timeout: float
    """Seconds that the imports of one service may take."""
    services: tuple[ProbeRequest, ...]


Requests = Literal["stream", "datagram", "any"]
"""The requests that something can make sense of, by its base class."""

Execution = Literal["blocking", "reactor", "program", "plugin"]
"""Who can run it: threads and processes, where it may wait; the reactor, which it may not hold up;
or it is a program, or a twistd plugin."""

MixIn = Literal["thread", "process"]


@dataclass(frozen=True)
class ServerFacts:
    """What a server class says of itself by its bases and attributes."""

    mixin: MixIn | None = None
    """By ThreadingMixIn or ForkingMixIn; None handles one request at a time."""
    reuse_port: bool = False
    backlog: int | None = None
    """``request_queue_size``, where a class outside the standard library sets it."""
    datagram_size: int | None = None
    """``max_packet_size``, of datagram servers."""
    children: int | None = None
    """``max_children``, of forking servers."""


@dataclass(frozen=True)
class Facts:
    """What a service runs, as seen by importing it."""

    service: str
    requests: Requests
    execution: Execution
    sources: tuple[str, ...]
    """Files that were imported from ``python_path``."""
    server: ServerFacts | None = None
    """Of a server class; a function that makes servers is not called, and says nothing."""
    threads: bool = False
    """Whether the imports have started threads, which a fork would not survive."""
    notes: tuple[str, ...] = ()
    """What is not as its author may think, and no fault."""


@dataclass(frozen=True)
class ProbeError:
    """A service cannot be run."""

    service: str
    key: str
    """The key of the service that is to blame, ``handler`` or ``access.verify_request``."""
    message: str


Answer = Facts | ProbeError


def encode_requests(questions: ProbeRequests) -> str:
    """Write the questions as JSON."""
    return json.dumps(asdict(questions))


def decode_requests(text: str) -> ProbeRequests:
    """Read what ``encode_questions`` wrote."""
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


def encode_reply(answer: Answer) -> str:
    """Write an answer as a line of JSON, without its end."""
    return json.dumps([type(answer).__name__, asdict(answer)])


def decode_reply(line: str) -> Answer:
    """Read a line that ``encode_answer`` wrote. Raises ValueError for anything else."""
    try:
        kind, values = json.loads(line)
        if kind == ProbeError.__name__:
            return ProbeError(str(values["service"]), str(values["key"]), str(values["message"]))
        if kind == "Facts":
            return Facts(
                service=str(values["service"]),
                requests=_one_of(_REQUESTS, values["requests"]),
                execution=_one_of(_EXECUTIONS, values["execution"]),
                sources=tuple(map(str, values["sources"])),
                server=None if values["server"] is None else _server(values["server"]),
                threads=bool(values["threads"]),
                notes=tuple(map(str, values["notes"])),
            )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        pass
    raise ValueError(f"not an answer: {line[:200]!r}")


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
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(value)
    return value


_REQUESTS: Final = frozenset({"stream", "datagram", "any"})
_EXECUTIONS: Final = frozenset({"blocking", "reactor", "program", "plugin"})
_MIXINS: Final = frozenset({"thread", "process"})
