"""``netd.config.resolve``: what is said in the file, of a class, or by nobody, and who wins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.config.resolve import CHILDREN, LISTED, Inconsistency, notes_of, settled
from netd.ipc.probe import Execution, Facts, MixIn, Requests, ServerFacts
from netd.listening.description import parse
from netd.model.service import (
    BACKLOG,
    DATAGRAM_SIZE,
    THREADS,
    Access,
    Concurrency,
    Plugin,
    Program,
    Reference,
    Requested,
    Runs,
    Service,
)

STREAMS = ["tcp:10037", "tcp6:10037", "unix:/run/s"]
DATAGRAMS = ["udp:10037", "udp6:10037", "unixgram:/run/s"]

HANDLER = Runs("handler", Reference("m", "H"))
SERVER = Runs("server", Reference("m", "S"), Reference("m", "H"))
PROTOCOL = Runs("protocol", Reference("m", "P"))
PROGRAM = Program("/bin/cat", ("cat",))
WAITING = Program("/bin/cat", ("cat",), wait=True)
PLUGIN = Plugin("web", ())

BLOCKING = Facts("s", "any", "blocking", ())
REACTOR = Facts("s", "any", "reactor", ())


def of_server(mixin: MixIn | None = None, **more: Any) -> Facts:
    return Facts("s", "any", "blocking", (), ServerFacts(mixin, **more))


def service(
    runs: Runs | Program | Plugin = HANDLER,
    listen: tuple[str, ...] = ("tcp:10037",),
    own: Requested = Requested(),  # noqa: B008
    defaults: Requested = Requested(),  # noqa: B008
    **more: Any,
) -> Service:
    return Service("s", tuple(map(parse, listen)), runs, "s", own=own, defaults=defaults, **more)


def facts_of(runs: Runs | Program | Plugin, execution: Execution = "blocking") -> Facts:
    """What a probe would see of something, a server having a mix-in for threads."""
    if isinstance(runs, Program | Plugin):
        return Facts("s", "any", "program" if isinstance(runs, Program) else "plugin", ())
    if runs is SERVER:
        return of_server("thread")
    return Facts("s", "any", "reactor" if runs is PROTOCOL else execution, ())


def how(found: Service) -> tuple[Concurrency, int, int]:
    return found.concurrency, found.threads, found.processes


def misfit(of: Service, facts: Facts) -> tuple[str, str]:
    """The key that is to blame, and why."""
    with pytest.raises(Inconsistency) as caught:
        settled(of, facts)
    return caught.value.key, str(caught.value)


class TestRequests:
    @pytest.mark.parametrize("listen", STREAMS + DATAGRAMS)
    def test_any(self, listen: str) -> None:
        """A BaseRequestHandler sorts its requests out by itself."""
        settled(service(listen=(listen,)), BLOCKING)

    @pytest.mark.parametrize(
        ("requests", "fitting"), [("stream", STREAMS), ("datagram", DATAGRAMS)]
    )
    def test_fit(self, requests: Requests, fitting: list[str]) -> None:
        """A handler of one kind of requests serves all listeners of that kind."""
        settled(service(listen=tuple(fitting)), Facts("s", requests, "blocking", ()))

    @pytest.mark.parametrize("listen", DATAGRAMS)
    def test_streams_only(self, listen: str) -> None:
        """A StreamRequestHandler has nothing to read from a datagram, and it is said where."""
        both = service(listen=("tcp:10037", listen))
        assert misfit(both, Facts("s", "stream", "blocking", ())) == (
            "handler",
            f'"m:H" is for streams and cannot serve datagrams, which {listen} listens for',
        )

    @pytest.mark.parametrize("listen", STREAMS)
    def test_datagrams_only(self, listen: str) -> None:
        """A UDPServer cannot accept a connection; its own key is to blame."""
        both = service(SERVER, listen=("udp:10037", listen))
        assert misfit(both, Facts("s", "datagram", "blocking", (), ServerFacts())) == (
            "server",
            f'"m:S" is for datagrams and cannot serve streams, which {listen} listens for',
        )

    def test_a_program_on_datagrams(self) -> None:
        """There is no connection that could be its standard input; the socket can be."""
        facts = Facts("s", "any", "program", ())
        assert misfit(service(PROGRAM, listen=("udp:1",)), facts) == (
            "program",
            "a program has no connection on udp:1: with wait = true it gets the socket",
        )
        settled(service(WAITING, listen=("udp:1",)), facts)


class TestConcurrency:
    def test_where_nothing_is_said(self) -> None:
        """Threads for what may wait, the reactor for what may not."""
        assert settled(service(), BLOCKING).concurrency == "thread"
        assert settled(service(), REACTOR).concurrency == "reactor"
        assert settled(service(PROTOCOL), REACTOR).concurrency == "reactor"

    @pytest.mark.parametrize("wanted", ["thread", "process"])
    def test_of_a_handler(self, wanted: Concurrency) -> None:
        """As its table says, and otherwise as the defaults do."""
        assert settled(service(own=Requested(wanted)), BLOCKING).concurrency == wanted
        assert settled(service(defaults=Requested(wanted)), BLOCKING).concurrency == wanted
        other: Concurrency = "thread" if wanted == "process" else "process"
        both = service(own=Requested(wanted), defaults=Requested(other))
        assert settled(both, BLOCKING).concurrency == wanted

    def test_of_the_defaults_for_whom_it_fits(self) -> None:
        """What cannot be run like that is run as is usual for it, without a word."""
        usual = Requested("process")
        assert settled(service(PROTOCOL, defaults=usual), REACTOR).concurrency == "reactor"
        usual = Requested("reactor")
        assert settled(service(defaults=usual), BLOCKING).concurrency == "thread"
        assert settled(service(PROGRAM, defaults=usual), facts_of(PROGRAM)).concurrency == "thread"

    @pytest.mark.parametrize("usual", ["thread", "process", "reactor", None])
    @pytest.mark.parametrize(
        ("mixin", "expected"), [("process", "process"), ("thread", "thread"), (None, "thread")]
    )
    def test_of_a_server(
        self, mixin: MixIn | None, expected: Concurrency, usual: Concurrency | None
    ) -> None:
        """By its mix-in, whatever the defaults say."""
        found = settled(service(SERVER, defaults=Requested(usual)), of_server(mixin))
        assert found.concurrency == expected

    @pytest.mark.parametrize("mixin", ["process", "thread", None])
    @pytest.mark.parametrize("own", ["thread", "process"])
    def test_of_a_server_whose_table_says_it(self, mixin: MixIn | None, own: Concurrency) -> None:
        """That is the last word."""
        assert settled(service(SERVER, own=Requested(own)), of_server(mixin)).concurrency == own

    def test_of_a_function_that_makes_a_server(self) -> None:
        """Nothing is known of its mix-in, so it is run by threads, or as the defaults say."""
        assert settled(service(SERVER), BLOCKING).concurrency == "thread"
        found = settled(service(SERVER, defaults=Requested("process")), BLOCKING)
        assert found.concurrency == "process"

    @pytest.mark.parametrize("runs", [HANDLER, SERVER])
    def test_the_reactor_for_what_may_wait(self, runs: Runs) -> None:
        """One handler that waits would be all that runs."""
        assert misfit(service(runs, own=Requested("reactor")), facts_of(runs)) == (
            "concurrency",
            f'"reactor" cannot run "{runs}", which may wait and would hold up all clients: '
            '"thread" and "process" can',
        )

    @pytest.mark.parametrize("own", ["thread", "process"])
    def test_threads_for_what_is_asynchronous(self, own: Concurrency) -> None:
        """A coroutine that nobody awaits does nothing."""
        assert misfit(service(PROTOCOL, own=Requested(own)), REACTOR) == (
            "concurrency",
            f'"{own}" cannot run "m:P", which is asynchronous: "reactor" can',
        )

    @pytest.mark.parametrize("own", ["process", "reactor"])
    def test_of_a_program(self, own: Concurrency) -> None:
        """It is a process of its own anyway."""
        key, why = misfit(service(PROGRAM, own=Requested(own)), facts_of(PROGRAM))
        assert key == "concurrency"
        assert why == "a program is a process of its own for each connection: leave it out"

    def test_of_a_plugin(self) -> None:
        """It does as it likes."""
        key, why = misfit(service(PLUGIN, (), own=Requested("thread")), facts_of(PLUGIN))
        assert (key, why) == ("concurrency", "a plugin decides that for itself: leave it out")


class TestThreads:
    @pytest.mark.parametrize(
        ("own", "usual", "expected"),
        [(None, None, THREADS), (None, 7, 7), (5, 7, 5), (5, None, 5)],
    )
    @pytest.mark.parametrize("facts", [BLOCKING, of_server("thread")], ids=["handler", "server"])
    def test_by_threads(
        self, facts: Facts, own: int | None, usual: int | None, expected: int
    ) -> None:
        """A hundred, or what the defaults say, or the service itself."""
        runs = SERVER if facts.server is not None else HANDLER
        found = settled(service(runs, (), Requested(threads=own), Requested(threads=usual)), facts)
        assert found.threads == expected

    @pytest.mark.parametrize("facts", [BLOCKING, of_server("process")], ids=["handler", "server"])
    def test_by_processes(self, facts: Facts) -> None:
        """One handler in each, unless the service itself wants more, not the defaults."""
        runs = SERVER if facts.server is not None else HANDLER
        by, usual = Requested("process"), Requested("process", threads=7)
        assert settled(service(runs, own=by, defaults=usual), facts).threads == 1
        assert settled(service(runs, defaults=usual), facts).threads == 1
        own = Requested("process", threads=5)
        assert settled(service(runs, own=own, defaults=usual), facts).threads == 5

    @pytest.mark.parametrize(
        "usual",
        [Requested(), Requested(threads=50), Requested("thread", 50), Requested("process", 50, 8)],
    )
    def test_a_server_without_a_mixin(self, usual: Requested) -> None:
        """One request at a time over all its listeners, whatever the defaults say."""
        found = settled(service(SERVER, ("tcp:1", "tcp:2"), defaults=usual), of_server())
        assert how(found) == ("thread", 1, 1)

    @pytest.mark.parametrize(
        ("own", "expected"),
        [
            (Requested(threads=5), ("thread", 5, 1)),
            (Requested("thread"), ("thread", THREADS, 1)),
            (Requested("thread", 5), ("thread", 5, 1)),
            (Requested("process"), ("process", 1, CHILDREN)),
            (Requested(processes=3), ("thread", 1, 3)),
        ],
    )
    def test_a_server_without_a_mixin_whose_table_says_it(
        self, own: Requested, expected: tuple[Concurrency, int, int]
    ) -> None:
        """What the service itself wants, it gets."""
        assert how(settled(service(SERVER, own=own), of_server())) == expected

    def test_a_function_that_makes_a_server(self) -> None:
        """Whether it has threads shows when it has been made."""
        assert settled(service(SERVER), BLOCKING).threads == THREADS

    def test_of_the_reactor(self) -> None:
        """It has one; the scoreboard lists a thousand clients, and counts the others."""
        usual = Requested(threads=50)
        assert settled(service(PROTOCOL, defaults=usual), REACTOR).threads == LISTED + 1
        assert misfit(service(PROTOCOL, own=Requested(threads=5)), REACTOR) == (
            "threads",
            "the reactor serves all clients in one thread: leave it out",
        )

    def test_of_a_program(self) -> None:
        """So many connections at a time; one that takes for itself runs once for each listener."""
        own = Requested(threads=5)
        assert settled(service(PROGRAM, own=own), facts_of(PROGRAM)).threads == 5
        usual = Requested(threads=5)
        two = service(WAITING, ("tcp:1", "udp:1"), defaults=usual)
        assert settled(two, facts_of(WAITING)).threads == 2


class TestProcesses:
    @pytest.mark.parametrize(
        ("own", "usual", "children", "expected"),
        [
            (None, None, None, CHILDREN),
            (None, None, 10, 10),
            (None, 6, 10, 6),
            (3, 6, 10, 3),
            (3, None, 10, 3),
            (None, 6, None, 6),
        ],
    )
    def test_by_processes(
        self, own: int | None, usual: int | None, children: int | None, expected: int
    ) -> None:
        """The file before the class's ``max_children``, and forty where nobody says anything."""
        wanted = Requested(processes=own), Requested(processes=usual)
        found = settled(service(SERVER, (), *wanted), of_server("process", children=children))
        assert found.processes == expected

    @pytest.mark.parametrize(
        ("own", "usual", "expected"), [(None, None, 1), (None, 6, 6), (3, 6, 3)]
    )
    @pytest.mark.parametrize("runs", [HANDLER, PROTOCOL, PROGRAM])
    def test_by_threads_and_the_reactor(
        self, runs: Runs | Program, own: int | None, usual: int | None, expected: int
    ) -> None:
        """One, or as many as the file says."""
        wanted = Requested(processes=own), Requested(processes=usual)
        assert settled(service(runs, (), *wanted), facts_of(runs)).processes == expected

    def test_of_a_server_by_threads(self) -> None:
        """Its handlers share one object's state, so only the service itself can want more."""
        usual = Requested(processes=6)
        threading = of_server("thread", children=10)
        assert settled(service(SERVER, defaults=usual), threading).processes == 1
        own = Requested(processes=3)
        assert settled(service(SERVER, own=own, defaults=usual), threading).processes == 3

    @pytest.mark.parametrize("runs", [WAITING, PLUGIN])
    def test_of_what_takes_for_itself(self, runs: Program | Plugin) -> None:
        """Once, whatever the defaults say."""
        usual = Requested(processes=6)
        assert settled(service(runs, (), defaults=usual), facts_of(runs)).processes == 1


class TestAttributes:
    @pytest.mark.parametrize(
        ("own", "usual", "of_class", "expected"),
        [
            (None, None, None, None),
            (None, None, 7, 7),
            (None, 64, 7, 64),
            (128, 64, 7, 128),
            (128, None, None, 128),
        ],
    )
    @pytest.mark.parametrize(
        ("key", "usually"), [("backlog", BACKLOG), ("datagram_size", DATAGRAM_SIZE)]
    )
    def test_numbers(
        self,
        key: str,
        usually: int,
        own: int | None,
        usual: int | None,
        of_class: int | None,
        expected: int | None,
    ) -> None:
        """The service, the defaults, the class's attribute, and then what is usual."""
        found = settled(
            service(SERVER, own=Requested(**{key: own}), defaults=Requested(**{key: usual})),  # type: ignore[arg-type]
            of_server(None, **{key: of_class}),
        )
        assert getattr(found, key) == (expected or usually)

    def test_reuse_port(self) -> None:
        """``allow_reuse_port`` counts as it does in ``server_bind()``."""
        assert settled(service(SERVER), of_server(reuse_port=True)).reuse_port
        assert not settled(service(SERVER), of_server()).reuse_port
        assert not settled(service(), BLOCKING).reuse_port


class TestForks:
    """A service by processes whose workers may serve one request only."""

    @staticmethod
    def made(facts: Facts = BLOCKING, **more: Any) -> Service:
        return settled(service(own=Requested("process"), **{"max_requests": 1, **more}), facts)

    def test_forks(self) -> None:
        """Each request has a fork of its worker, which is what ForkingMixIn does."""
        assert self.made().forks
        assert notes_of(self.made(), BLOCKING) == ()

    @pytest.mark.parametrize("max_requests", [0, 2, 100])
    def test_workers_that_serve_more(self, max_requests: int) -> None:
        """They are pooled."""
        assert not self.made(max_requests=max_requests).forks

    def test_threads(self) -> None:
        """A process with many handlers is not one for each request."""
        assert not settled(service(max_requests=1), BLOCKING).forks

    @pytest.mark.parametrize(
        ("facts", "more", "why"),
        [
            (
                Facts("s", "any", "blocking", (), threads=True),
                {},
                "its imports start threads, which a fork does not have",
            ),
            (
                BLOCKING,
                {"access": Access(verify_request=Reference("m", "f"))},
                "the worker enforces verify_timeout, and cannot in a fork",
            ),
        ],
    )
    def test_that_cannot_be(self, facts: Facts, more: dict[str, Any], why: str) -> None:
        """Then every request gets a new worker, and it is said what that costs."""
        found = self.made(facts, **more)
        assert not found.forks
        slow = "every client gets a new worker, which takes longer than a fork: "
        assert notes_of(found, facts) == (slow + why,)


class TestKeys:
    """Keys that could not do what they say are no part of a service's table."""

    CASES = (
        (PROGRAM, {"options", "datagram_size"}),
        (
            WAITING,
            {
                "options", "datagram_size", "handler_timeout", "max_requests", "max_memory",
                "processes", "access", "threads",
            },
        ),
        (
            PLUGIN,
            {
                "options", "datagram_size", "handler_timeout", "max_requests", "max_memory",
                "processes", "access", "backlog", "worker",
            },
        ),
        (PROTOCOL, {"handler_timeout"}),
    )  # fmt: skip

    @pytest.mark.parametrize(
        ("runs", "key"), [(runs, key) for runs, keys in CASES for key in sorted(keys)]
    )
    def test_of_others(self, runs: Runs | Program | Plugin, key: str) -> None:
        """Each is said to be wrong where it stands, and why."""
        wrong, why = misfit(service(runs, (), written=frozenset({key})), facts_of(runs))
        assert wrong == key
        assert why.endswith(": leave it out")

    @pytest.mark.parametrize(("runs", "keys"), CASES)
    def test_from_the_defaults(self, runs: Runs | Program | Plugin, keys: set[str]) -> None:
        """The defaults are for those that they fit, so nothing is wrong with theirs."""
        others = frozenset({"listen", "user", "enabled", "environment"})
        settled(service(runs, (), written=others), facts_of(runs))
        for key in keys:
            settled(service(written=frozenset({key})), BLOCKING)

    @pytest.mark.parametrize("runs", [WAITING, PLUGIN])
    def test_rules_that_nobody_asks(self, runs: Program | Plugin) -> None:
        """That the defaults' rules keep nobody out of such a service is worth knowing."""
        ruled = service(runs, (), access=Access(deny=("192.0.2.1",)))
        assert notes_of(settled(ruled, facts_of(runs)), facts_of(runs)) == (
            "the access rules of [defaults] have no effect: it accepts its clients itself",
        )
        assert notes_of(settled(service(runs, ()), facts_of(runs)), facts_of(runs)) == ()


class TestEverything:
    @given(
        st.builds(
            Requested,
            st.sampled_from(["thread", "process", None]),
            st.none() | st.integers(1, 10),
            st.none() | st.integers(1, 10),
        ),
        st.builds(
            Requested,
            st.sampled_from(["thread", "process", "reactor", None]),
            st.none() | st.integers(11, 20),
            st.none() | st.integers(11, 20),
        ),
        st.sampled_from(["thread", "process", None]),
        st.none() | st.integers(21, 30),
    )
    def test_own_keys_win(
        self, own: Requested, usual: Requested, mixin: MixIn | None, children: int | None
    ) -> None:
        """What a service that may wait says itself, it gets, and there is room for all."""
        found = settled(service(SERVER, (), own, usual), of_server(mixin, children=children))
        for key in ("concurrency", "threads", "processes"):
            wanted = getattr(own, key)
            assert wanted is None or getattr(found, key) == wanted
        assert found.records * found.places >= 2 * found.threads * found.processes

    def test_the_rest_stays(self) -> None:
        """Nothing else of a service is touched, and notes of the probe are kept."""
        before = service(SERVER, own=Requested(threads=3), options={"a": 1}, max_memory=5)
        facts = Facts("s", "any", "blocking", (), ServerFacts("thread"), notes=("is so",))
        after = settled(before, facts)
        same = ("name", "listen", "runs", "worker", "own", "defaults", "options", "max_memory")
        assert all(getattr(before, key) == getattr(after, key) for key in same)
        assert notes_of(after, facts) == ("is so",)
