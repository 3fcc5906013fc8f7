"""A service whose handlers may wait, joined up: handlers and server classes, run by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from socketserver import BaseServer, ThreadingMixIn
from typing import Any

from netd.admission.filter import RequestFilter
from netd.admission.lists import AccessLists
from netd.execution.forks.per_request import ForkPerRequest
from netd.execution.interfaces import InnerSource, Service, Source
from netd.execution.serving import Serving, WithServing
from netd.execution.socketserver.get_request import HookedSource
from netd.execution.socketserver.hooks import HookedServing
from netd.execution.socketserver.hosting import Host, adopted, hosted
from netd.execution.socketserver.loop_hooks import ReactorTicks, ThreadTicks, Ticks
from netd.execution.sources.datagram import asks, made
from netd.execution.threads.pool import Bounds, TakingThreads
from netd.execution.threads.service_thread import ServiceThread
from netd.worker.build.accept import Entrances
from netd.worker.build.context import Bound, Joint
from netd.worker.build.server import HandlerHost, server_of
from netd.worker.importing import CannotImport, load


class BlockingService:
    """What takes for one service, and what its server objects want between requests."""

    def __init__(
        self,
        taking: TakingThreads | ForkPerRequest,
        ticks: list[Ticks],
        close: list[Callable[[], object]],
        kill: Iterable[Callable[[], None]] = (),
        servings: Iterable[Serving] = (),
    ) -> None:
        self._taking = taking
        self._ticks = ticks
        self._close = close
        self._kill = tuple(kill)
        self._servings = tuple(servings)
        self.resume = taking.resume
        self.suspend = taking.suspend

    def start(self, taking: bool = True) -> None:
        """Begin to take; without *taking*, after ``resume``."""
        self._taking.start(taking)
        for ticks in self._ticks:
            ticks.start()

    def recheck(self, lists: AccessLists) -> None:
        """Ask *lists* from now on, and end the connections that they do not admit."""
        for serving in self._servings:
            serving.recheck(lists)
        if isinstance(self._taking, ForkPerRequest):
            self._taking.recheck(lists)

    def disconnect(self, number: int, stamp: int) -> None:
        """End the connection in the slot *number*, if it is still that one."""
        for serving in self._servings:
            serving.disconnect(number, stamp)
        if isinstance(self._taking, ForkPerRequest):
            self._taking.disconnect(number, stamp)

    def kill(self) -> None:
        """End programs at once; forks end with their worker."""
        for kill in self._kill:
            kill()

    def stop(self, stopped: Callable[[], None]) -> None:
        """Take nothing more; *stopped* is called when the last handler has returned."""

        def all_have_returned() -> None:
            for close in self._close:
                close()
            stopped()

        for ticks in self._ticks:
            ticks.stop()
        self._taking.stop(all_have_returned)


def by_threads(joint: Joint) -> BlockingService:
    """Import what the service runs and join it up with its listeners, not yet started.

    Raises ``importing.CannotImport``.
    """
    build = _built(joint)
    service = joint.service
    most = min(service.threads, build.most_threads)
    threads = TakingThreads(
        service.name,
        build.sources,
        most,
        joint.reactor,
        joint.say,
        partial(ServiceThread, service=service.name),
        inner=build.inner,
        bounds=_bounds(joint, most),
        waiting=build.entrances.waiting,
    )
    return BlockingService(threads, build.ticks, build.close, servings=build.sources.values())


def by_forks(joint: Joint) -> BlockingService:
    """The same for a service that forks for every request. Raises ``importing.CannotImport``."""
    build = _built(joint)
    in_child = build.entrances.in_child
    forks = ForkPerRequest(
        {
            source: in_child(bound, serving)
            for bound, (source, serving) in zip(joint.listeners, build.sources.items(), strict=True)
        },
        build.inner,
        joint.slots,
        joint.board,
        joint.first_slot,
        joint.service.handler_timeout,
        joint.reactor,
        joint.journal,
        joint.say,
        joint.office.relay,
        joint.office.become_child,
        joint.suspend,
    )
    return BlockingService(forks, build.ticks, build.close, servings=build.sources.values())


def _built(joint: Joint) -> _Build:
    build = _Servers(joint) if joint.service.runs.key == "server" else _Handlers(joint)
    for bound in joint.listeners:
        build.add(bound)
    return build


def _bounds(joint: Joint, most: int) -> Bounds | None:
    service, wear = joint.service, joint.wear
    if service.handler_timeout is None and wear is None:
        return None
    hung = partial(joint.hung, most)
    return Bounds(service.handler_timeout, wear, service.spare_threads, hung)


class _Build:
    """What a service's threads are made of, listener by listener."""

    def __init__(self, joint: Joint) -> None:
        self._joint = joint
        self._filter = request_filter(joint)
        self.entrances = Entrances(joint)
        self.sources: dict[Source, Serving] = {}
        self.inner: dict[InnerSource, Service] = {}
        self.ticks: list[Ticks] = []
        self.close: list[Callable[[], object]] = []
        self.most_threads = joint.service.threads

    def add(self, bound: Bound) -> None:
        """Join a listener up."""
        raise NotImplementedError


class _Handlers(_Build):
    """A handler class, under a plain server object of the standard library's."""

    def __init__(self, joint: Joint) -> None:
        super().__init__(joint)
        runs, options = joint.code, joint.service.options
        self._class = load(runs.reference, joint.python_path)
        self._handler: Any = partial(self._class, **options) if options else self._class
        if asks(self._class):
            joint.asks_for_ancillary = True
            self._handler = partial(made, self._handler, self._class)

    def add(self, bound: Bound) -> None:
        joint = self._joint
        serving = Serving(
            joint.service.name,
            bound.transport.value,
            joint.gate(bound, self._filter),
            joint.service.access.dry_run,
            joint.slots,
            joint.journal,
        )
        host = HandlerHost(joint.say, joint.suspend)
        server = server_of(bound.transport, bound.shown, host, self._class)
        serving.serve_by(server, self._handler)
        self.entrances.provide(server, serving)
        self.sources[self.entrances.source(bound, serving)] = serving


class _Servers(_Build):
    """A server class, or a function that makes a server: an object for each listener."""

    def __init__(self, joint: Joint) -> None:
        super().__init__(joint)
        runs = joint.code
        self._server = load(runs.reference, joint.python_path)
        self._handler = None if runs.handler is None else load(runs.handler, joint.python_path)

    def add(self, bound: Bound) -> None:
        joint = self._joint
        serving = HookedServing(
            joint.service.name,
            bound.transport,
            joint.gate(bound, self._filter),
            joint.service.access.dry_run,
            joint.slots,
            joint.journal,
            joint.suspend,
            joint.board.busy_pids,
        )
        server = self._make(bound, serving)
        serving.host(server)
        self._joint.asks_for_ancillary = asks(getattr(server, "RequestHandlerClass", None))
        self.entrances.provide(server, serving)
        self.sources[self._source(bound, server, serving)] = serving
        if serving.hooks.process_request:
            self.inner[serving.handed] = _Handed(serving)
        if serving.hooks.service_actions or serving.hooks.handle_timeout:
            self.ticks.append(self._ticks_of(server, serving))
        if serving.hooks.server_close:
            self.close.append(partial(_close, joint, server))
        if not isinstance(self._server, type) and not isinstance(server, ThreadingMixIn):
            self._handle_one_at_a_time(server)

    def _make(self, bound: Bound, host: Host) -> BaseServer:
        """Make the server object; whatever its constructor raises is a fault of the service's."""
        make: Any = hosted if isinstance(self._server, type) else adopted
        reference = self._joint.service.runs
        try:
            server: BaseServer = make(
                self._server,
                bound.shown,
                host,
                self._handler,
                self._joint.service.options,
                self._attributes(bound),
            )
        except BaseException as error:
            raise CannotImport(f'"{reference}" makes no server: {_said(error)}') from error
        return server

    def _attributes(self, bound: Bound) -> dict[str, object]:
        """What the file, or netd, has decided that a class has an attribute for."""
        service = self._joint.service
        attributes: dict[str, object] = {"max_children": service.processes}
        if bound.transport.is_datagram:
            attributes["max_packet_size"] = service.datagram_size
        return attributes

    def _handle_one_at_a_time(self, server: BaseServer) -> None:
        """A function's server says only now that it has no threads, unless the file said so."""
        own = self._joint.service.own
        if own.threads is None and own.concurrency is None:
            self.most_threads = 1

    def _source(self, bound: Bound, server: BaseServer, serving: HookedServing) -> Source:
        is_wrapped = getattr(server, "socket", None) is not bound.shown
        takes_itself = serving.hooks.get_request or is_wrapped
        # In a fork it may do a handshake, and nobody waits for that; the worker could not.
        in_child = self._joint.service.forks and not bound.transport.is_datagram
        if takes_itself and (in_child or self.entrances.begin(bound)):
            serving.get_what_is_taken()
        elif takes_itself:
            joint = self._joint
            hooked = HookedSource(server, bound.socket, bound.transport, joint.say)
            return joint.with_options(hooked, bound)
        return self.entrances.source(bound, serving)

    def _ticks_of(self, server: BaseServer, serving: HookedServing) -> Ticks:
        hooks, joint = serving.hooks, self._joint
        actions = serving.act if hooks.service_actions else None
        timed_out = serving.time_out if hooks.handle_timeout else None
        if joint.service.forks:
            # A process that forks has one thread.
            return ReactorTicks(
                server, actions, timed_out, lambda: serving.last_request, joint.reactor
            )
        factory = partial(ServiceThread, service=joint.service.name)
        return ThreadTicks(server, actions, timed_out, lambda: serving.last_request, factory)


class _Handed(WithServing):
    """Serves what a server passes on late, in a thread of the pool."""

    def __init__(self, serving: HookedServing) -> None:
        super().__init__(serving)
        self.serve = serving.serve_handed


def request_filter(joint: Joint) -> RequestFilter | None:
    function = joint.filter_function()
    if function is None:
        return None
    access = joint.service.access
    # A dry run serves the client that a filter is too slow for.
    return RequestFilter(
        function,
        access.verify_timeout,
        joint.reactor,
        joint.say_filter_raised,
        hang_up=not access.dry_run,
    )


def _close(joint: Joint, server: BaseServer) -> None:
    try:
        server.server_close()
    except BaseException as error:
        joint.say("error", f"server_close() raised {_said(error)}")


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # a user's error need not be one that can be shown
        return type(error).__name__
