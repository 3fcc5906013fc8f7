"""Asking a probe process what services run. The daemon imports nothing of a user's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from netd.config.document import dotted
from netd.config.resolve import Inconsistency, notes_of, settled
from netd.core.exit_status import ending
from netd.daemon.forkserver.spawn import command
from netd.ipc.probe import (
    Answer,
    ProbeError,
    ProbeRequest,
    ProbeRequests,
    decode_reply,
    encode_requests,
)
from netd.model.problem import Problem
from netd.model.service import Configuration, Owner, Service, Stamp

IMPORT_TIMEOUT: Final = 30.0
"""Seconds that the imports of one service may take before it counts as one that hangs."""


def ask(configuration: Configuration, as_whom: Owner = Owner()) -> dict[str, Answer]:  # noqa: B008
    """Import what every service runs, in processes of its own, and return what each is.

    Services that name no user are imported as *as_whom*. Blocks until the last import is done.
    Raises OSError when no process can be started.
    """
    if not configuration.services:
        return {}
    questions = ProbeRequests(
        configuration.python_path,
        IMPORT_TIMEOUT,
        tuple(_question(service, as_whom) for service in configuration.services),
    )
    done = subprocess.run(
        command("probe"), input=encode_requests(questions), stdout=subprocess.PIPE, text=True
    )
    answers = [decode_reply(line) for line in done.stdout.splitlines()]
    if len(answers) != len(questions.services):
        raise OSError(f"the probe process ended with {ending(done.returncode)}")
    return {answer.service: answer for answer in answers}


def _question(service: Service, as_whom: Owner) -> ProbeRequest:
    owner = as_whom if service.owner == Owner() else service.owner
    options = tuple(service.options)
    return ProbeRequest(
        service.name,
        service.runs,
        options,
        service.access.verify_request,
        owner,
        service.environment,
    )


def settle(
    configuration: Configuration, answers: Mapping[str, Answer]
) -> tuple[Configuration, list[ProbeError]]:
    """Decide what depends on the probe's *answers*; return that, and what is wrong, in order."""
    services, found, notes = [], [], []
    for service in configuration.services:
        answer = answers[service.name]
        if isinstance(answer, ProbeError):
            found.append(answer)
            continue
        try:
            services.append(replace(settled(service, answer), sources=stamps(answer.sources)))
        except Inconsistency as misfit:
            found.append(ProbeError(service.name, misfit.key, str(misfit)))
            continue
        remarks = notes_of(services[-1], answer)
        notes += [ProbeError(service.name, service.runs.key, remark) for remark in remarks]
    located = (located_at(note, configuration) for note in notes)
    said = (*configuration.notes, *located)
    return replace(configuration, services=tuple(services), notes=said), found


def stamps(files: Iterable[str]) -> tuple[Stamp, ...]:
    """What *files* are like now; those that have gone are left out."""
    found = []
    for file in files:
        with suppress(OSError):
            status = os.stat(file)
            stamp = Stamp(file, status.st_ino, status.st_size, status.st_mtime_ns)
            found.append(stamp)
    return tuple(found)


def located_at(fault: ProbeError, configuration: Configuration) -> Problem:
    """Put a fault at its key, or at the nearest table around it that is written somewhere."""
    path = ("services", fault.service, *fault.key.split("."))
    around = (dotted(path[:length]) for length in range(len(path), 0, -1))
    written = next((key for key in around if key in configuration.locations), "")
    file, line = configuration.locations.get(written, (configuration.file, 1))
    return Problem(file, line, dotted(path), fault.message)
