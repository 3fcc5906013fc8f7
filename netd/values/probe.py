"""What the daemon asks a probe process, and what it answers: a line of JSON each.

The answers come from a process that has run a user's module, so they are read with suspicion.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal

from netd.values.service import Owner, Reference


@dataclass(frozen=True)
class Question:
    """What does this service run?"""

    service: str
    handler: Reference
    verify_request: Reference | None
    owner: Owner


@dataclass(frozen=True)
class Questions:
    """Everything that one probe is asked."""

    python_path: tuple[str, ...]
    timeout: float
    """Seconds that the imports of one service may take."""
    services: tuple[Question, ...]


Requests = Literal["stream", "datagram", "any"]
"""The requests that a handler can make sense of, by its base class."""

_REQUESTS: Final = frozenset({"stream", "datagram", "any"})


@dataclass(frozen=True)
class Facts:
    """What a service runs, as seen by importing it."""

    service: str
    requests: Requests
    sources: tuple[str, ...]
    """Files that were imported from ``python_path``."""


@dataclass(frozen=True)
class Fault:
    """A service cannot be run."""

    service: str
    key: str
    """The key of the service that is to blame, ``handler`` or ``access.verify_request``."""
    message: str


Answer = Facts | Fault


def encode_questions(questions: Questions) -> str:
    """Write the questions as JSON."""
    return json.dumps(asdict(questions))


def decode_questions(text: str) -> Questions:
    """Read what ``encode_questions`` wrote."""
    values = json.loads(text)
    services = tuple(
        Question(
            one["service"],
            Reference(**one["handler"]),
            Reference(**one["verify_request"]) if one["verify_request"] else None,
            Owner(**one["owner"]),
        )
        for one in values["services"]
    )
    return Questions(tuple(values["python_path"]), values["timeout"], services)


def encode_answer(answer: Answer) -> str:
    """Write an answer as a line of JSON, without its end."""
    return json.dumps([type(answer).__name__, asdict(answer)])


def decode_answer(line: str) -> Answer:
    """Read a line that ``encode_answer`` wrote. Raises ValueError for anything else."""
    try:
        kind, values = json.loads(line)
        if kind == "Fault":
            return Fault(str(values["service"]), str(values["key"]), str(values["message"]))
        if kind == "Facts" and values["requests"] in _REQUESTS:
            sources = tuple(str(source) for source in values["sources"])
            return Facts(str(values["service"]), values["requests"], sources)
    except (KeyError, TypeError, ValueError, RecursionError):
        pass
    raise ValueError(f"not an answer: {line[:200]!r}")
