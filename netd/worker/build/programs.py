"""A service that runs programs, joined up."""

from __future__ import annotations

import os
from functools import partial

from netd.admission.filter import RequestFilter
from netd.execution.programs.inetd_wait import InetdWaitProgram, InetdWaitPrograms, WaitListener
from netd.execution.programs.serving import ProgramServing
from netd.execution.threads.pool import AcceptingThreads, Bounds
from netd.execution.threads.service_thread import ServiceThread
from netd.model.service import Program
from netd.worker.build.accept import PendingBuilder
from netd.worker.build.blocking import BlockingService, request_filter
from netd.worker.build.context import BoundListener, ServiceContext
from netd.worker.build.server import HandlerHost, server_of


def by_programs(context: ServiceContext, program: Program) -> BlockingService:
    """A program for each connection; as many at once as the service has threads.

    Raises ``importing.CannotImport``, of a filter.
    """
    asks = request_filter(context)
    servings = [_serving(context, bound, program, asks) for bound in context.listeners]
    entrances = PendingBuilder(context)
    sources = {
        entrances.source(bound, serving): serving
        for bound, serving in zip(context.listeners, servings, strict=True)
    }
    service = context.service
    recycle = context.recycle
    # A program that runs for too long is ended by the thread that waits for it.
    bounds = Bounds(None, recycle, 0, partial(context.hung, service.threads)) if recycle else None
    threads = AcceptingThreads(
        service.name,
        sources,
        service.threads,
        context.reactor,
        context.say,
        partial(ServiceThread, service=service.name),
        bounds=bounds,
        waiting=entrances.waiting,
    )
    kill = [serving.kill for serving in servings]
    return BlockingService(threads, [], [], kill, servings)


def _serving(
    context: ServiceContext, bound: BoundListener, program: Program, asks: RequestFilter | None
) -> ProgramServing:
    service = context.service
    serving = ProgramServing(
        context.served_listener(bound, asks), program, service.handler_timeout, os.environ
    )
    # Which closes those who are refused.
    host = HandlerHost(context.say, context.suspend)
    serving.serve_by(server_of(bound.transport, bound.shown, host), print)
    return serving


def by_inetd_wait(context: ServiceContext, program: Program) -> InetdWaitPrograms:
    """A program for each listener, which takes for itself."""
    return InetdWaitPrograms(
        [
            InetdWaitProgram(
                program,
                WaitListener(bound.transport, bound.socket, context.block, number),
                os.environ,
                context.reactor,
                context.say,
            )
            for number, bound in enumerate(context.listeners)
        ]
    )
