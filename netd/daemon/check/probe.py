"""Asks a probe process what services run, because the daemon imports no user code."""

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
    ProbeError,
    ProbeReply,
    ProbeRequest,
    ProbeRequests,
    decode_reply,
    encode_requests,
)
from netd.model.problem import Problem
from netd.model.service import Configuration, Owner, Service, Stamp

IMPORT_TIMEOUT: Final = 30.0
"""Seconds that the imports of one service may take; longer ones count as hanging."""


def ask(configuration: Configuration, owner: Owner = Owner()) -> dict[str, ProbeReply]:  # noqa: B008
    """Have a probe import what every service runs, and return its replies by service.

    The code of services that name no user is imported as *owner*. Blocks until the last import is
    done. Raises OSError if no process can be started.
    """
    # The admin socket alone needs no process.
    if not configuration.services:
        return {}
    requests = ProbeRequests(
        configuration.python_path,
        IMPORT_TIMEOUT,
        tuple(_request(service, owner) for service in configuration.services),
    )
    # One process for all: it forks for each service, which is cheaper than an interpreter each. Its
    # stderr stays netd's, for what the imports print.
    done = subprocess.run(
        command("probe"), input=encode_requests(requests), stdout=subprocess.PIPE, text=True
    )
    replies = [decode_reply(line) for line in done.stdout.splitlines()]
    if len(replies) != len(requests.services):
        # It was killed, since nothing that a service imports can end it.
        raise OSError(f"the probe process ended with {ending(done.returncode)}")
    return {reply.service: reply for reply in replies}


def _request(service: Service, owner: Owner) -> ProbeRequest:
    if service.owner != Owner():
        owner = service.owner
    options = tuple(service.options)
    return ProbeRequest(
        service.name,
        service.runs,
        options,
        service.access.verify_request,
        owner,
        service.environment,
    )


def resolve(
    configuration: Configuration, replies: Mapping[str, ProbeReply]
) -> tuple[Configuration, list[ProbeError]]:
    """Resolve what depends on the probe's *replies*. Return that, and the errors in order."""
    services, found, notes = [], [], []
    for service in configuration.services:
        reply = replies[service.name]
        if isinstance(reply, ProbeError):
            found.append(reply)
            continue
        try:
            services.append(replace(settled(service, reply), sources=stamps(reply.sources)))
        except Inconsistency as error:
            found.append(ProbeError(service.name, error.key, str(error)))
            continue
        remarks = notes_of(services[-1], reply)
        notes += [ProbeError(service.name, service.runs.key, remark) for remark in remarks]
    located = (located_at(note, configuration) for note in notes)
    all_notes = (*configuration.notes, *located)
    return replace(configuration, services=tuple(services), notes=all_notes), found


def stamps(files: Iterable[str]) -> tuple[Stamp, ...]:
    """The present stamps of *files*, without those that have gone. A reload compares them."""
    found = []
    for file in files:
        # A module may have been imported from a file that is gone by now.
        with suppress(OSError):
            status = os.stat(file)
            stamp = Stamp(file, status.st_ino, status.st_size, status.st_mtime_ns)
            found.append(stamp)
    return tuple(found)


def located_at(error: ProbeError, configuration: Configuration) -> Problem:
    """Locate an error at its key, or at the nearest enclosing table that is in a file."""
    path = ("services", error.service, *error.key.split("."))
    around = (dotted(path[:length]) for length in range(len(path), 0, -1))
    written = next((key for key in around if key in configuration.locations), "")
    file, line = configuration.locations.get(written, (configuration.file, 1))
    return Problem(file, line, dotted(path), error.message)
