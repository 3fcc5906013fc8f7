"""Reloads under load: zero failures, whether they work or not."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.faults.loads import LoadTool, Tally
from tests.faults.reporting import Progress, Report
from tests.faults.sites import BROKEN, HANDLERS, LOCAL, TARGETS, every_kind, lighter, service
from tests.integration.administered import Administered, Conversation
from tests.integration.daemons import children, command_line, read_exactly, until

CONNECTIONS: Final = 500_000
"""What the long form is about; how many of these the short one has is the machine's affair."""


@pytest.fixture
def site(administered: Administered) -> Administered:
    """A daemon with every kind of service."""
    administered.project.handlers(HANDLERS)
    administered.start(every_kind())
    return administered


class TestUnderLoad:
    def test_reloads(
        self, site: Administered, tool: LoadTool, is_long: bool, progress: Progress, report: Report
    ) -> None:
        """Everything is replaced, again and again, and nobody notices."""
        reloads = 50 if is_long else 2
        total = Tally()
        turn = 0
        while turn < reloads or (is_long and total.done < CONNECTIONS):
            with tool.on(site, TARGETS if is_long else lighter(TARGETS)) as tally:
                for _ in range(min(10, reloads)):
                    turn += 1
                    fates = site.reload_well(every_kind(turn))
                    assert set(fates.values()) == {"change"}
                    progress.at(turn, reloads, f"{total.done} connections")
            total.done += tally.done
            total.failed += tally.failed
            assert not tally.failed, tally.details
        report.say(reloads=turn, requests=total.done, failed=total.failed)
        assert total.done > 1000

    @pytest.mark.long
    def test_broken_configurations(
        self, site: Administered, tool: LoadTool, is_long: bool, progress: Progress, report: Report
    ) -> None:
        """What cannot be is refused, and those who are served do not notice."""
        broken_ways = BROKEN if is_long else BROKEN[-5:]
        turns = 3 * len(BROKEN) if is_long else len(broken_ways)
        before = workers(site)
        with tool.on(site, TARGETS if is_long else lighter(TARGETS)) as tally:
            for turn in range(turns):
                name, module, keys = broken_ways[turn % len(broken_ways)]
                site.project.handlers(module + f"# {turn}\n", "broken")
                broken = service("broken", f"tcp:0{LOCAL}", handler="broken:Line") + keys
                reply = site.reload(every_kind(1) + broken)
                assert not reply.ok, name
                assert reply.problems, name
                progress.at(turn, turns, name)
        assert workers(site) == before
        report.say(refused=turns, requests=tally.done, failed=tally.failed)
        assert not tally.failed, tally.details

    @pytest.mark.long
    def test_fewer_workers(
        self, site: Administered, tool: LoadTool, is_long: bool, report: Report
    ) -> None:
        """Those that go finish what they have."""
        with tool.on(site, TARGETS if is_long else lighter(TARGETS)) as tally:
            for turn, processes in enumerate([8, 1] * (5 if is_long else 1)):
                site.reload_well(every_kind(turn + 1, processes))
        report.say(requests=tally.done, failed=tally.failed)
        assert not tally.failed, tally.details

    @pytest.mark.long
    def test_upgrades(
        self, site: Administered, tool: LoadTool, is_long: bool, progress: Progress, report: Report
    ) -> None:
        """A daemon takes the place of another one, again and again, and nobody notices."""
        upgrades = 10 if is_long else 1
        first = site.daemon
        with tool.on(site, TARGETS if is_long else lighter(TARGETS)) as tally:
            for turn in range(upgrades):
                assert site.upgrade_well().wait() == 0
                progress.at(turn, upgrades)
        report.say(upgrades=upgrades, requests=tally.done, failed=tally.failed)
        assert not tally.failed, tally.details
        assert not first.log.matching("Traceback|an error in netd")

    @pytest.mark.long
    def test_the_way_out(self, site: Administered, tool: LoadTool, report: Report) -> None:
        """TERM under load: whoever has got in is served; who comes later is refused, not reset."""
        stop = threading.Event()
        outcomes: list[str] = []
        addresses = [site.address("threads", 0), site.address("threads", 1)]
        addresses += [site.address("processes", 0), site.address("reactor", 0)]
        callers = [
            threading.Thread(target=call_until, args=(address, stop, outcomes))
            for address in addresses
            for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        until(lambda: outcomes.count("served") > 500, "the load is there")
        site.daemon.signal(signal.SIGTERM)
        assert site.daemon.wait() == 0
        stop.set()
        for caller in callers:
            caller.join()
        report.say(served=outcomes.count("served"), reset=outcomes.count("reset"))
        assert not outcomes.count("reset")
        assert not outcomes.count("unanswered")


def call_until(address: object, stop: threading.Event, outcomes: list[str]) -> None:
    """Call again and again; a call that is not let in is the end."""
    while not stop.is_set():
        outcome = call(address)
        outcomes.append(outcome)
        if outcome == "refused":
            return


def call(address: object) -> str:
    """One connection, and what comes of it."""
    try:
        conversation = Conversation(address)
    except OSError:
        return "refused"
    with conversation:
        try:
            return "served" if conversation.ask(b"hello") == b"hello" else "unanswered"
        except OSError:
            return "reset"


class Streaming:
    """A client that sends pieces and gets them back, for as long as it likes."""

    def __init__(self, address: object) -> None:
        self._conversation = Conversation(address)
        self._random = random.Random(0)
        self.carried = 0

    def exchange(self) -> None:
        """A piece there and back, which must be the same."""
        piece = self._random.randbytes(self._random.randint(1, 20_000))
        self._conversation.socket.sendall(piece)
        assert read_exactly(self._conversation.socket, len(piece)) == piece
        self.carried += len(piece)

    def close(self) -> None:
        self._conversation.socket.close()


class TestInside:
    @pytest.mark.long
    def test_idle_and_streaming(
        self,
        administered: Administered,
        is_long: bool,
        progress: Progress,
        report: Report,
    ) -> None:
        """Clients that stay: none is closed, every byte is the same."""
        idle, streams, reloads = (2000, 200, 10) if is_long else (100, 10, 4)
        raise_descriptor_limit()
        site = administered
        site.project.handlers(HANDLERS)

        def both(other: int, changed: int) -> str:
            # The clients' own services change once, and are kept after that.
            return (
                '[daemon]\ngraceful_timeout = "1h"\n'
                + service(
                    "threads",
                    f"tcp:0{LOCAL}",
                    handler="handlers:Echo",
                    threads=idle + streams + changed,
                )
                + service(
                    "reactor",
                    f"tcp:0{LOCAL}",
                    protocol="handlers:ReactorEcho",
                    max_memory=(1 << 40) + changed,
                )
                + service("other", "unix:other", handler="handlers:Echo", threads=10 + other)
            )

        site.start(both(0, 0))
        addresses = [site.address("threads"), site.address("reactor")]
        with ExitStack() as stack:
            clients = []
            for number in range(idle):
                clients.append(stack.enter_context(Conversation(addresses[number % 2])))
                assert clients[-1].ask(b"hello") == b"hello"
            streaming = [Streaming(addresses[number % 2]) for number in range(streams)]
            for turn in range(1, reloads + 1):
                for stream in streaming:
                    stream.exchange()
                fates = site.reload_well(both(turn, min(turn, 1)))
                assert fates["other"] == "change"
                progress.at(turn, reloads)
            for stream in streaming:
                stream.exchange()
                stream.close()
            for client in clients:
                assert client.ask(b"still here") == b"still here"
                client.socket.shutdown(socket.SHUT_WR)
                assert client.socket.recv(1) == b""
        report.say(
            idle=idle,
            streaming=streams,
            bytes_equal=sum(stream.carried for stream in streaming),
            reloads=reloads,
            closed=0,
        )


def raise_descriptor_limit() -> None:
    """As many descriptors as may be, for clients in this process."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class TestKilled:
    @pytest.mark.long
    def test_the_new_generation(
        self, site: Administered, is_long: bool, progress: Progress, report: Report
    ) -> None:
        """Killed anywhere between its fork and its first client: the old one stays, or it comes
        up all the same; and everything is served in the end.
        """
        turns = 100 if is_long else 6
        seed = random.Random(5)
        taken_back = 0
        for turn in range(1, turns + 1):
            old = workers(site)
            killer = Killer(site.daemon.pid, set(site.daemon.workers()), seed.uniform(0, 0.03))
            reply = site.reload(every_kind(turn))
            killer.end()
            if not reply.ok:
                taken_back += 1
                assert "before it was ready" in reply.problems[0], reply.problems
                assert workers(site) == old
            for name in ("threads", "processes", "reactor"):
                until(lambda name=name: call(site.address(name)) == "served", f"{name} is served")
            progress.at(turn, turns)
        report.say(reloads=turns, taken_back=taken_back)
        assert not site.daemon.log.matching("Traceback")


def workers(site: Administered) -> dict[str, list[int]]:
    """The pids of the workers of which there is a fixed number."""
    return {name: site.pids(name) for name in ("threads", "reactor", "datagrams")}


class Killer:
    """Kills the first new worker of a daemon, some time after it has seen it."""

    def __init__(self, daemon: int, known: set[int], delay: float) -> None:
        self._daemon = daemon
        self._known = known
        self._delay = delay
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.0005):
            for server in children(self._daemon):
                new = [pid for pid in children(server) if pid not in self._known]
                new = [pid for pid in new if command_line(pid).startswith("netd: worker")]
                if new:
                    self._ended.wait(self._delay)
                    with suppress(ProcessLookupError):
                        os.kill(new[0], signal.SIGKILL)
                    return

    def end(self) -> None:
        """Kill nobody any more."""
        self._ended.set()
        self._thread.join()


class TestManyReloads:
    @pytest.mark.long
    def test_leave_nothing_behind(
        self, administered: Administered, is_long: bool, progress: Progress, report: Report
    ) -> None:
        """Descriptors, threads and memory of the daemon are what they were."""
        reloads = 1000 if is_long else 20
        site = administered
        site.project.handlers(HANDLERS)

        def one(turn: int) -> str:
            name = f"of{turn % 3}"
            path = f"unix:{name}"
            return service(name, path, handler="handlers:Line") + service(
                "changed", f"tcp:0{LOCAL}", program=["cat"], threads=10 + turn % 2
            )

        site.start(one(0))
        for turn in range(5):
            site.reload_well(one(turn))
        before = Figures.of(site)
        for turn in range(reloads):
            # One in ten is refused.
            text = one(turn) + ("[services.x]\n" if turn % 10 == 9 else "")
            assert site.reload(text).ok == (turn % 10 != 9)
            progress.at(turn, reloads)
        after = before

        def is_as_before() -> bool:
            nonlocal after
            after = Figures.of(site)
            return after.descriptors <= before.descriptors and after.threads <= before.threads

        until(is_as_before, "no descriptor and no thread is kept")
        report.say(
            reloads=reloads,
            descriptors=f"{before.descriptors} → {after.descriptors}",
            threads=f"{before.threads} → {after.threads}",
            KiB=f"{before.memory} → {after.memory}",
        )
        assert after.memory - before.memory < 5 << 10


class Figures:
    """What a daemon has, once nobody is on the way out."""

    def __init__(self, pid: int) -> None:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        self.descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        self.threads = int(fields["Threads"])
        self.memory = int(fields["VmRSS"].split()[0])
        """KiB."""

    @classmethod
    def of(cls, site: Administered) -> Figures:
        """Those of the daemon."""
        until(lambda: not site.status()["draining"], "all old generations have left", 60)
        return cls(site.daemon.pid)
