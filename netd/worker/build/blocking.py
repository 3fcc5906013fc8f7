"""A service whose handlers may wait, joined up: handlers and server classes, run by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from socketserver import BaseServer, ThreadingMixIn
from typing import Any

from netd.admission.filter import RequestFilter
from netd.admission.lists import AccessLists
from netd.execution.forks.per_request import (
    ForkHooks,
    ForkPerRequest,
    ForkSources,
)
from netd.execution.interfaces import InnerSource, Service, Source
from netd.execution.serving import Serving, WithServing
from netd.execution.socketserver.get_request import GetRequestSource
from netd.execution.socketserver.hosting import Host, adopted, hosted
from netd.execution.socketserver.loop_hooks import LoopHooks, ReactorLoopHooks, ThreadLoopHooks
from netd.execution.socketserver.overrides import OverridingServing
from netd.execution.sources.datagram import asks, made
from netd.execution.threads.pool import AcceptingThreads
from netd.execution.threads.service_thread import ServiceThread
from netd.execution.threads.settings import Bounds, PoolSettings, PoolSources
from netd.worker.build.accept import PendingBuilder
from netd.worker.build.context import ServiceContext
from netd.worker.build.listener import BoundListener
from netd.worker.build.server import HandlerHost, server_of
from netd.worker.importing import CannotImport, load


class BlockingService:
    """What accepts for one service, and what its server objects do between requests."""

    def __init__(
        self,
        accepting: AcceptingThreads | ForkPerRequest,
        loop_hooks: list[LoopHooks],
        close: list[Callable[[], object]],
        kill: Iterable[Callable[[], None]] = (),
        servings: Iterable[Serving] = (),
    ) -> None:
        self._accepting = accepting
        self._loop_hooks = loop_hooks
        self._close = close
        self._kill = tuple(kill)
        self._servings = tuple(servings)
        self.resume = accepting.resume
        self.suspend = accepting.suspend

    def start(self, accepting: bool = True) -> None:
        """Accept, or without *accepting* wait for ``resume``."""
        self._accepting.start(accepting)
        for loop_hooks in self._loop_hooks:
            loop_hooks.start()

    def recheck(self, lists: AccessLists) -> None:
        """Replace the lists by *lists*, and end the connections that they do not admit."""
        for serving in self._servings:
            serving.recheck(lists)
        if isinstance(self._accepting, ForkPerRequest):
            self._accepting.recheck(lists)

    def disconnect(self, connection: int) -> None:
        """End the connection with this ID, if it is active here."""
        for serving in self._servings:
            serving.disconnect(connection)
        if isinstance(self._accepting, ForkPerRequest):
            self._accepting.disconnect(connection)

    def kill(self) -> None:
        """Kill programs; forks end with their worker."""
        for kill in self._kill:
            kill()

    def stop(self, stopped: Callable[[], None]) -> None:
        """Stop accepting; *stopped* is called when the last handler has returned."""

        def all_have_returned() -> None:
            for close in self._close:
                close()
            stopped()

        for loop_hooks in self._loop_hooks:
            loop_hooks.stop()
        self._accepting.stop(all_have_returned)


def by_threads(context: ServiceContext) -> BlockingService:
    """Import what the service runs and join it up with its listeners, not yet started.

    Raises ``importing.CannotImport``.
    """
    build = _built(context)
    service = context.service
    most = min(service.threads, build.most_threads)
    settings = PoolSettings(
        service.name,
        most,
        partial(ServiceThread, service=service.name),
        bounds=_bounds(context, most),
    )
    sources = PoolSources(build.sources, build.inner, build.opener.pending)
    threads = AcceptingThreads(settings, sources, context.reactor, context.say)
    return BlockingService(threads, build.loop_hooks, build.close, servings=build.sources.values())


def by_forks(context: ServiceContext) -> BlockingService:
    """The same for a service that forks for every request. Raises ``importing.CannotImport``."""
    build = _built(context)
    in_child = build.opener.in_child
    outer: dict[Source, Service] = {
        source: in_child(bound, serving)
        for bound, (source, serving) in zip(context.listeners, build.sources.items(), strict=True)
    }
    forks = ForkPerRequest(
        ForkSources(outer, build.inner),
        context.block,
        ForkHooks(
            context.log_buffer,
            context.say,
            context.link.relay,
            context.link.after_fork,
            context.suspend,
        ),
        context.service.handler_timeout,
        context.reactor,
    )
    return BlockingService(forks, build.loop_hooks, build.close, servings=build.sources.values())


def _built(context: ServiceContext) -> _Build:
    build = _Servers(context) if context.service.runs.key == "server" else _Handlers(context)
    for bound in context.listeners:
        build.add(bound)
    return build


def _bounds(context: ServiceContext, most: int) -> Bounds | None:
    service, recycle = context.service, context.recycle
    if service.handler_timeout is None and recycle is None:
        return None
    hung = partial(context.hung, most)
    return Bounds(service.handler_timeout, recycle, service.spare_threads, hung)


class _Build:
    """What serves a service's listeners, added one by one."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._filter = request_filter(context)
        self.opener = PendingBuilder(context)
        self.sources: dict[Source, Serving] = {}
        self.inner: dict[InnerSource, Service] = {}
        self.loop_hooks: list[LoopHooks] = []
        self.close: list[Callable[[], object]] = []
        self.most_threads = context.service.threads

    def add(self, bound: BoundListener) -> None:
        """Join a listener up."""
        raise NotImplementedError


class _Handlers(_Build):
    """A handler class, under a plain server object of the standard library's."""

    def __init__(self, context: ServiceContext) -> None:
        super().__init__(context)
        runs, options = context.code, context.service.options
        self._class = load(runs.reference, context.python_path)
        self._handler: Any = partial(self._class, **options) if options else self._class
        if asks(self._class):
            context.asks_for_ancillary = True
            self._handler = partial(made, self._handler, self._class)

    def add(self, bound: BoundListener) -> None:
        context = self._context
        serving = Serving(context.served_listener(bound, self._filter))
        host = HandlerHost(context.say, context.suspend)
        server = server_of(bound.transport, bound.shown, host, self._class)
        serving.serve_by(server, self._handler)
        self.opener.provide(server, serving)
        self.sources[self.opener.source(bound, serving)] = serving


class _Servers(_Build):
    """A server class, or a function that makes a server: an object for each listener."""

    def __init__(self, context: ServiceContext) -> None:
        super().__init__(context)
        runs = context.code
        self._server = load(runs.reference, context.python_path)
        self._handler = None if runs.handler is None else load(runs.handler, context.python_path)

    def add(self, bound: BoundListener) -> None:
        context = self._context
        serving = OverridingServing(
            context.served_listener(bound, self._filter),
            context.suspend,
            context.board.busy_pids,
        )
        server = self._make(bound, serving)
        serving.host(server)
        self._context.asks_for_ancillary = asks(getattr(server, "RequestHandlerClass", None))
        self.opener.provide(server, serving)
        self.sources[self._source(bound, server, serving)] = serving
        if serving.overrides.process_request:
            self.inner[serving.handed] = _PassedOn(serving)
        if serving.overrides.service_actions or serving.overrides.handle_timeout:
            self.loop_hooks.append(self._loop_hooks_of(server, serving))
        if serving.overrides.server_close:
            self.close.append(partial(_close, context, server))
        if not isinstance(self._server, type) and not isinstance(server, ThreadingMixIn):
            self._handle_one_at_a_time(server)

    def _make(self, bound: BoundListener, host: Host) -> BaseServer:
        """Make the server object; whatever its constructor raises is a fault of the service's."""
        make: Any = hosted if isinstance(self._server, type) else adopted
        reference = self._context.service.runs
        try:
            server: BaseServer = make(
                self._server,
                bound.shown,
                host,
                self._handler,
                self._context.service.options,
                self._attributes(bound),
            )
        except BaseException as error:
            raise CannotImport(f'"{reference}" makes no server: {_said(error)}') from error
        return server

    def _attributes(self, bound: BoundListener) -> dict[str, object]:
        """What the file, or netd, has decided that a class has an attribute for."""
        service = self._context.service
        attributes: dict[str, object] = {"max_children": service.processes}
        if bound.transport.is_datagram:
            attributes["max_packet_size"] = service.datagram_size
        return attributes

    def _handle_one_at_a_time(self, server: BaseServer) -> None:
        """A function's server says only now that it has no threads, unless the file said so."""
        own = self._context.service.own
        if own.threads is None and own.concurrency is None:
            self.most_threads = 1

    def _source(
        self, bound: BoundListener, server: BaseServer, serving: OverridingServing
    ) -> Source:
        is_wrapped = getattr(server, "socket", None) is not bound.shown
        takes_itself = serving.overrides.get_request or is_wrapped
        # In a fork it may do a handshake, which delays no other client; in the worker it would.
        in_child = self._context.service.forks and not bound.transport.is_datagram
        if takes_itself and (in_child or not self.opener.opening(bound).is_plain):
            serving.get_what_is_taken()
        elif takes_itself:
            context = self._context
            hooked = GetRequestSource(server, bound.socket, bound.transport, context.say)
            return context.with_options(hooked, bound)
        return self.opener.source(bound, serving)

    def _loop_hooks_of(self, server: BaseServer, serving: OverridingServing) -> LoopHooks:
        overrides, context = serving.overrides, self._context
        actions = serving.act if overrides.service_actions else None
        timed_out = serving.time_out if overrides.handle_timeout else None
        if context.service.forks:
            # A process that forks has one thread.
            return ReactorLoopHooks(
                server, actions, timed_out, lambda: serving.last_request, context.reactor
            )
        factory = partial(ServiceThread, service=context.service.name)
        return ThreadLoopHooks(server, actions, timed_out, lambda: serving.last_request, factory)


class _PassedOn(WithServing):
    """Serves what a server passes on late, in a thread of the pool."""

    def __init__(self, serving: OverridingServing) -> None:
        super().__init__(serving)
        self.serve = serving.serve_handed


def request_filter(context: ServiceContext) -> RequestFilter | None:
    function = context.filter_function()
    if function is None:
        return None
    access = context.service.access
    # A dry run serves the client that a filter is too slow for.
    return RequestFilter(
        function,
        access.verify_timeout,
        context.reactor,
        context.say_filter_raised,
        hang_up=not access.dry_run,
    )


def _close(context: ServiceContext, server: BaseServer) -> None:
    try:
        server.server_close()
    except BaseException as error:
        context.say("error", f"server_close() raised {_said(error)}")


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # a user's error need not be one that can be shown
        return type(error).__name__
