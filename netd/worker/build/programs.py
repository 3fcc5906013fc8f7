"""A service that runs programs, joined up."""

from __future__ import annotations

import os
from functools import partial

from netd.admission.filter import RequestFilter
from netd.execution.programs.inetd_wait import WaitingProgram, WaitingPrograms
from netd.execution.programs.serving import ProgramServing
from netd.execution.threads.pool import Bounds, TakingThreads
from netd.execution.threads.service_thread import ServiceThread
from netd.model.service import Program
from netd.worker.build.accept import Entrances
from netd.worker.build.blocking import BlockingService, request_filter
from netd.worker.build.context import Bound, Joint
from netd.worker.build.server import HandlerHost, server_of


def by_programs(joint: Joint, program: Program) -> BlockingService:
    """A program for each connection; as many at once as the service has threads.

    Raises ``importing.CannotImport``, of a filter.
    """
    asks = request_filter(joint)
    servings = [_serving(joint, bound, program, asks) for bound in joint.listeners]
    entrances = Entrances(joint)
    sources = {
        entrances.source(bound, serving): serving
        for bound, serving in zip(joint.listeners, servings, strict=True)
    }
    service = joint.service
    wear = joint.wear
    # A program that runs for too long is ended by the thread that waits for it.
    bounds = Bounds(None, wear, 0, partial(joint.hung, service.threads)) if wear else None
    threads = TakingThreads(
        service.name,
        sources,
        service.threads,
        joint.reactor,
        joint.say,
        partial(ServiceThread, service=service.name),
        bounds=bounds,
        waiting=entrances.waiting,
    )
    kill = [serving.kill for serving in servings]
    return BlockingService(threads, [], [], kill, servings)


def _serving(
    joint: Joint, bound: Bound, program: Program, asks: RequestFilter | None
) -> ProgramServing:
    service = joint.service
    serving = ProgramServing(
        service.name,
        bound.transport.value,
        joint.gate(bound, asks),
        service.access.dry_run,
        joint.slots,
        joint.journal,
        program=program,
        transport=bound.transport,
        handler_timeout=service.handler_timeout,
        environment=os.environ,
    )
    # Which closes those who are refused.
    host = HandlerHost(joint.say, joint.suspend)
    serving.serve_by(server_of(bound.transport, bound.shown, host), print)
    return serving


def by_waiting_programs(joint: Joint, program: Program) -> WaitingPrograms:
    """A program for each listener, which takes for itself."""
    return WaitingPrograms(
        [
            WaitingProgram(
                program,
                bound.transport,
                bound.socket,
                os.environ,
                joint.slots[number],
                joint.reactor,
                joint.say,
            )
            for number, bound in enumerate(joint.listeners)
        ]
    )
