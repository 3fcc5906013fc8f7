"""Building a service that runs a program."""

from __future__ import annotations

import os
from functools import partial

from netd.admission.filter import RequestFilter
from netd.execution.programs.inetd_wait import InetdWaitProgram, InetdWaitPrograms, WaitListener
from netd.execution.programs.serving import ProgramServing
from netd.execution.threads.pool import AcceptingThreads
from netd.execution.threads.service_thread import ServiceThread
from netd.execution.threads.settings import Bounds, PoolSettings, PoolSources
from netd.model.service import Program
from netd.worker.build.accept import PendingBuilder
from netd.worker.build.blocking import BlockingService, request_filter
from netd.worker.build.context import ServiceContext
from netd.worker.build.listener import BoundListener
from netd.worker.build.server import HandlerHost, server_of


def by_programs(context: ServiceContext, program: Program) -> BlockingService:
    """Build a service that starts a program for each connection, one for each thread at a time.

    Raises ``importing.CannotImport`` for a filter.
    """
    asks = request_filter(context)
    servings = [_serving(context, bound, program, asks) for bound in context.listeners]
    opener = PendingBuilder(context)
    sources = {
        opener.source(bound, serving): serving
        for bound, serving in zip(context.listeners, servings, strict=True)
    }
    service = context.service
    recycle = context.recycle
    # No handler timeout here: the thread that waits for a program also ends one that is late.
    bounds = Bounds(None, recycle, 0, partial(context.hung, service.threads)) if recycle else None
    factory = partial(ServiceThread, service=service.name)
    threads = AcceptingThreads(
        PoolSettings(service.name, service.threads, factory, bounds=bounds),
        PoolSources(sources, pending=opener.pending),
        context.reactor,
        context.say,
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
    # The server object closes refused connections. It makes no handler, so any callable will do.
    host = HandlerHost(context.say, context.suspend)
    serving.serve_by(server_of(bound.transport, bound.shown, host), print)
    return serving


def by_inetd_wait(context: ServiceContext, program: Program) -> InetdWaitPrograms:
    """Build a service that starts one program for each listener; the program accepts (``wait``)."""
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
