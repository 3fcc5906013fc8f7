"""Asking a probe process what services run. The daemon imports nothing of a user's."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Final

from netd.daemon.spawning import command, ending
from netd.values.address import Address
from netd.values.probe import (
    Answer,
    Fault,
    Question,
    Questions,
    Requests,
    decode_answer,
    encode_questions,
)
from netd.values.service import Configuration, Owner, Service

IMPORT_TIMEOUT: Final = 30.0
"""Seconds that the imports of one service may take before it counts as one that hangs."""


def ask(configuration: Configuration, as_whom: Owner = Owner()) -> dict[str, Answer]:  # noqa: B008
    """Import what every service runs, in processes of its own, and return what each is.

    Services that name no user are imported as *as_whom*. Blocks until the last import is done.
    Raises OSError when no process can be started.
    """
    if not configuration.services:
        return {}
    questions = Questions(
        configuration.python_path,
        IMPORT_TIMEOUT,
        tuple(_question(service, as_whom) for service in configuration.services),
    )
    done = subprocess.run(
        command("probe"), input=encode_questions(questions), stdout=subprocess.PIPE, text=True
    )
    answers = [decode_answer(line) for line in done.stdout.splitlines()]
    if len(answers) != len(questions.services):
        raise OSError(f"the probe process ended with {ending(done.returncode)}")
    return {answer.service: answer for answer in answers}


def _question(service: Service, as_whom: Owner) -> Question:
    owner = as_whom if service.owner == Owner() else service.owner
    return Question(service.name, service.handler, service.access.verify_request, owner)


def misfit(service: Service, requests: Requests) -> str | None:
    """Say why a handler that takes *requests* cannot serve what the service listens on."""
    for address in service.listen:
        if requests != "any" and not _fits(requests, address):
            base = "StreamRequestHandler" if requests == "stream" else "DatagramRequestHandler"
            kind = "datagrams" if requests == "stream" else "streams"
            return (
                f'"{service.handler}" is a socketserver.{base} and cannot serve {kind}, '
                f"which {address} listens for"
            )
    return None


def _fits(requests: Requests, address: Address) -> bool:
    return address.transport.is_datagram == (requests == "datagram")


def faults(services: Sequence[Service], answers: dict[str, Answer]) -> list[Fault]:
    """What is wrong with what the services run, in their order."""
    found = []
    for service in services:
        answer = answers[service.name]
        if isinstance(answer, Fault):
            found.append(answer)
            continue
        why = misfit(service, answer.requests)
        if why is not None:
            found.append(Fault(service.name, "handler", why))
    return found
