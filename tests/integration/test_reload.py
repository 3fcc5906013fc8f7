"""Reloading the real daemon: who stays, who changes, what is taken back; nobody is lost."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.integration.administered import WORDS, Administered, Conversation
from tests.integration.daemons import PATIENCE, command_line, is_alive, read_all, until

TCP = "tcp:0:interface=127.0.0.1"


def words(name: str = "a", listen: str = f'"{TCP}"', more: str = "") -> str:
    """A service that converses."""
    return f'[services.{name}]\nhandler = "handlers:Words"\nlisten = [{listen}]\n{more}\n'


@pytest.fixture
def site(administered: Administered) -> Administered:
    """A project with the handlers of these tests, not started."""
    administered.project.handlers(WORDS)
    return administered


@pytest.fixture
def free_port() -> int:
    """A port that nobody has, a moment ago."""
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def edit(site: Administered, version: str, module: str = "handlers") -> None:
    """Write another version of the handlers, of another length than the one before."""
    site.project.handlers(WORDS.replace('b"one"', f'b"{version}"'), module)


class TestFates:
    def test_nothing_changed(self, site: Administered) -> None:
        """The same workers, the same counters, the same conversation."""
        site.start(words("a") + words("b", more='concurrency = "process"'))
        before = site.pids("a"), site.pids("b")
        with site.talk("a") as client:
            assert client.ask(b"hello") == b"hello"
            assert site.reload_well() == {"a": "keep", "b": "keep"}
            assert client.ask(b"hello again") == b"hello again"
        assert (site.pids("a"), site.pids("b")) == before
        until(lambda: site.service("a")["active"] == 0, "the client has left")
        assert site.service("a")["served"] == 1

    def test_each_gets_its_own(self, site: Administered) -> None:
        """Kept, changed, added, removed and disabled in one reload."""
        site.start(words("kept") + words("changed") + words("removed") + words("disabled"))
        kept, changed = site.pids("kept"), site.pids("changed")
        fates = site.reload_well(
            words("kept")
            + words("changed", more="threads = 7")
            + words("disabled", more="enabled = false")
            + words("added")
        )
        assert fates == {
            "kept": "keep",
            "changed": "change",
            "added": "add",
            "removed": "remove",
            "disabled": "drain",
        }
        assert site.pids("kept") == kept
        assert site.pids("changed") != changed
        assert [one["name"] for one in site.status()["services"]] == ["kept", "changed", "added"]
        for name in ("kept", "changed", "added"):
            with site.talk(name) as client:
                assert client.ask(b"version") == b"one"
        until(lambda: not any(map(is_alive, changed)), "the replaced worker has left")

    def test_a_free_port_stays_the_same(self, site: Administered) -> None:
        """It is the same kernel socket, and a number that clients know."""
        site.start(words("a"))
        address = site.address("a")
        site.reload_well(words("a", more="threads = 7"))
        assert site.address("a") == address

    def test_plan_says_so_and_does_nothing(self, site: Administered) -> None:
        """As the reload would, with the reasons."""
        site.start(words("a"))
        before = site.pids("a")
        site.configure(words("a", more="threads = 7") + words("b"))
        reply = site.client.see("plan")
        assert reply.ok
        assert site.fates(reply) == {"a": "change", "b": "add"}
        assert reply.values["steps"][0]["why"] == ["threads"]
        assert site.pids("a") == before

    @pytest.mark.long
    def test_a_client_inside_stays_with_the_old_generation(self, site: Administered) -> None:
        """He is served to his end by the code that he came to; new ones get the new one."""
        site.start(words("a"))
        with site.talk("a") as old:
            assert old.ask(b"version") == b"one"
            edit(site, "second")
            assert site.reload_well() == {"a": "change"}
            with site.talk("a") as new:
                assert new.ask(b"version") == b"second"
            assert old.ask(b"version") == b"one"
            assert [one["connections"] for one in site.status()["draining"]] == [1]
            assert old.finish() == b""
        until(lambda: not site.status()["draining"], "the old generation has left")

    @pytest.mark.long
    def test_services_of_a_worker_change_together(self, site: Administered) -> None:
        """It is the worker that is replaced."""
        site.start(words("a", more='worker = "w"') + words("b", more='worker = "w"'))
        reply = site.reload(
            words("a", more='worker = "w"\nthreads = 7') + words("b", more='worker = "w"')
        )
        assert site.fates(reply) == {"a": "change", "b": "change"}
        assert reply.values["steps"][1]["why"] == ["shares worker w, which is replaced"]
        assert site.pids("a") == site.pids("b")


class TestSources:
    def test_an_edited_handler(self, site: Administered) -> None:
        """Its service changes, and the new code answers; others notice nothing."""
        edit(site, "other", "others")
        site.start(words("a") + '[services.b]\nhandler = "others:Words"\nlisten = ["' + TCP + '"]')
        other = site.pids("b")
        edit(site, "second")
        assert site.reload_well() == {"a": "change", "b": "keep"}
        with site.talk("a") as client:
            assert client.ask(b"version") == b"second"
        assert site.pids("b") == other

    @pytest.mark.long
    def test_a_module_that_the_handler_imports(self, site: Administered) -> None:
        """Also what is imported by what is imported."""
        site.project.handlers('version = b"one"\n', "deep")
        site.project.handlers("from deep import version\n", "shallow")
        text = WORDS.replace("import os,", "import shallow, os,")
        site.project.handlers(text.replace('b"one"', "shallow.version"))
        site.start(words("a"))
        site.project.handlers('version = b"deeply changed"\n', "deep")
        assert site.reload_well() == {"a": "change"}
        with site.talk("a") as client:
            assert client.ask(b"version") == b"deeply changed"

    def test_a_file_that_nobody_imports(self, site: Administered) -> None:
        """Is nobody's change."""
        site.project.handlers("x = 1\n", "unused")
        site.start(words("a"))
        site.project.handlers("x = 22\n", "unused")
        assert site.reload_well() == {"a": "keep"}


BROKEN_IN_WORKER = """
    import sys
    from socketserver import StreamRequestHandler, ThreadingTCPServer

    class Words(StreamRequestHandler):
        pass

    class Server(ThreadingTCPServer):
        def __init__(self, *arguments, **keywords):
            raise RuntimeError("no database")
"""


class TestTakenBack:
    """Whatever is wrong: it is in the answer and in the log, and the old one serves on."""

    @pytest.fixture
    def running(self, site: Administered) -> Iterator[Administered]:
        """A daemon that serves, before and after, by the same workers."""
        site.start(words("a") + words("b"))
        before = site.pids("a"), site.pids("b"), descriptors(site.daemon.pid)
        with site.talk("a") as inside:
            assert inside.ask(b"hello") == b"hello"
            yield site
            assert inside.ask(b"hello") == b"hello"
        with site.talk("a") as client, site.talk("b") as other:
            assert (client.ask(b"version"), other.ask(b"version")) == (b"one", b"one")
        assert (site.pids("a"), site.pids("b")) == before[:2]
        until(lambda: descriptors(site.daemon.pid) <= before[2], "nothing is kept of it")
        assert not site.daemon.log.matching("Traceback")

    def refused(self, site: Administered, text: str, pattern: str) -> None:
        """Reload, which fails."""
        reply = site.reload(text)
        assert not reply.ok
        assert any(re.search(pattern, problem) for problem in reply.problems), reply.problems
        site.daemon.log.wait(pattern)
        site.daemon.log.wait("not reloaded: the running configuration stays as it is")

    @pytest.mark.long
    def test_a_file_that_is_no_toml(self, running: Administered) -> None:
        self.refused(running, "[services.a\n", r"netd\.toml:\d+: ")

    def test_several_problems(self, running: Administered) -> None:
        """All of them, each where it is."""
        reply = running.reload(words("a", more="thread = 7") + words("b", listen='"tcp:x"'))
        assert len(reply.problems) == 2
        assert all(re.match(r".*netd\.toml:\d+: services\.", text) for text in reply.problems)

    def test_a_file_that_has_gone(self, running: Administered) -> None:
        text = running.project.file.read_text()
        running.project.file.unlink()
        reply = running.reload()
        assert not reply.ok
        assert "netd.toml" in reply.problems[0]
        running.project.file.write_text(text)

    def test_a_handler_that_cannot_be_imported(self, running: Administered) -> None:
        running.project.handlers("import no_such_module\n", "broken")
        text = words("a") + words("b") + words("c").replace("handlers:", "broken:")
        self.refused(running, text, "no_such_module")

    @pytest.mark.long
    def test_a_handler_that_ends_the_process(self, running: Administered) -> None:
        running.project.handlers("import os\nos._exit(3)\n", "broken")
        text = words("a") + words("b") + words("c").replace("handlers:", "broken:")
        self.refused(running, text, 'importing "broken" ended the process with status 3')

    @pytest.mark.long
    def test_a_server_that_cannot_be_made(self, running: Administered) -> None:
        """The import works, so that only the worker can know."""
        running.project.handlers(BROKEN_IN_WORKER, "broken")
        text = words("c", more='server = "broken:Server"').replace("handlers:", "broken:")
        # What is ready before the other one fails has taken nobody, and goes.
        changed = words("a", more="threads = 7") + words("b")
        self.refused(running, changed + text, "RuntimeError: no database")

    @pytest.mark.long
    def test_a_port_that_is_taken(self, running: Administered) -> None:
        with closing(socket.socket()) as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            listen = f'"{TCP}", "unix:new", "tcp:{port}:interface=127.0.0.1"'
            text = words("a") + words("b") + words("c", listen=listen)
            self.refused(running, text, rf"services\.c: .*:{port}.*: Address already in use")
        assert not (running.directory / "new").exists()

    @pytest.mark.long
    def test_a_worker_that_dies_at_its_start(self, running: Administered) -> None:
        text = """
            import os
            from socketserver import StreamRequestHandler, ThreadingTCPServer
            class Words(StreamRequestHandler): pass
            class Server(ThreadingTCPServer):
                def __init__(self, *arguments, **keywords):
                    os.abort()
        """
        running.project.handlers(text, "broken")
        text = words("c", more='server = "broken:Server"').replace("handlers:", "broken:")
        self.refused(running, words("a") + words("b") + text, "ended with signal SIGABRT")


def descriptors(pid: int) -> int:
    """How many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


class TestListeners:
    @pytest.mark.long
    def test_mode_and_backlog_of_a_socket_that_stays(self, site: Administered) -> None:
        """The same inode; and what is taken back gets its mode back."""
        path = site.directory / "s"
        site.start(words("a", listen='"unix:s:mode=660"'))
        before = path.stat()
        site.reload_well(words("a", listen='"unix:s:mode=600"', more="backlog = 5"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_ino == before.st_ino
        site.project.handlers(BROKEN_IN_WORKER, "broken")
        broken = words("c", more='server = "broken:Server"').replace("handlers:", "broken:")
        assert not site.reload(words("a", listen='"unix:s:mode=666"') + broken).ok
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_ino == before.st_ino

    @pytest.mark.long
    def test_a_socket_that_moves_to_another_service(
        self, site: Administered, free_port: int
    ) -> None:
        """Whoever waits there is not lost."""
        listen = f'"tcp:{free_port}:interface=127.0.0.1"'
        site.start(words("a", listen=listen))
        assert site.client.do("suspend", service="a").ok
        with Conversation(("127.0.0.1", free_port)) as waiting:
            waiting.say(b"version")
            edit(site, "second", "others")
            text = words("b", listen=listen).replace("handlers:", "others:")
            assert site.reload_well(text) == {"b": "add", "a": "remove"}
            assert waiting.hear() == b"second"

    def test_one_that_goes_serves_its_queue(self, site: Administered) -> None:
        """A client that is in the queue when its listener is removed is answered."""
        path = site.directory / "s"
        site.start(words("a", listen=f'"unix:s", "{TCP}"', more="threads = 1"))
        tcp = site.address("a", 1)
        with site.talk("a") as busy, ExitStack() as stack:
            assert busy.ask(b"hello") == b"hello"
            waiting = [stack.enter_context(Conversation(str(path))) for _ in range(20)]
            waiting += [stack.enter_context(Conversation(tcp)) for _ in range(20)]
            for client in waiting:
                client.say(b"version")
                client.socket.shutdown(socket.SHUT_WR)
            fates = site.reload_well(words("a", listen='"unix:other"'))
            assert fates == {"a": "change"}
            assert not path.exists()
            assert busy.finish() == b""
            for client in waiting:
                assert read_all(client.socket) == b"one\n"
        until(lambda: not site.status()["draining"], "the old generation has left")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(tcp)

    @pytest.mark.long
    def test_workers_that_are_replaced_after_each_client_serve_the_queue(
        self, site: Administered
    ) -> None:
        """There is always another one until nobody waits any more."""
        more = 'concurrency = "process"\nprocesses = 1\nmax_requests = 1'
        site.start(words("a", more=more))
        address = site.address("a")
        with ExitStack() as stack:
            waiting = [stack.enter_context(Conversation(address)) for _ in range(10)]
            for client in waiting:
                client.say(b"version")
            site.reload_well(words("b"))
            for client in waiting:
                assert client.finish() == b"one\n"


class TestLists:
    """New lists hold for who is inside already."""

    DENY = '[services.a.access]\ndeny = ["127.0.0.1"]\n'

    def denied(self, site: Administered, service: str, word: bytes, answer: bytes) -> None:
        site.start(service)
        with site.talk("a") as inside:
            assert inside.ask(word) == answer
            site.reload_well(service + self.DENY)
            assert inside.has_ended()
        site.daemon.log.wait(r"127\.0\.0\.1:\d+.* ended by the new lists: deny")
        until(lambda: not site.status()["draining"], "the old generation has left")

    def test_threads(self, site: Administered) -> None:
        self.denied(site, words("a"), b"hello", b"hello")

    @pytest.mark.long
    def test_processes(self, site: Administered) -> None:
        self.denied(site, words("a", more='concurrency = "process"'), b"hello", b"hello")

    @pytest.mark.long
    def test_programs(self, site: Administered) -> None:
        service = f'[services.a]\nprogram = ["cat"]\nlisten = ["{TCP}"]\n'
        self.denied(site, service, b"hello", b"hello")

    @pytest.mark.long
    def test_the_reactor(self, site: Administered) -> None:
        text = """
            from twisted.internet.protocol import Protocol
            class Echo(Protocol):
                def dataReceived(self, data):
                    self.transport.write(data)
        """
        site.project.handlers(text)
        service = f'[services.a]\nprotocol = "handlers:Echo"\nlisten = ["{TCP}"]\n'
        self.denied(site, service, b"hello", b"hello")

    @pytest.mark.long
    def test_forks(self, site: Administered) -> None:
        text = WORDS + "    from socketserver import ForkingTCPServer as Server\n"
        site.project.handlers(text)
        more = 'server = "handlers:Server"\nmax_requests = 1'
        self.denied(site, words("a", more=more), b"hello", b"hello")

    @pytest.mark.long
    def test_those_of_an_earlier_generation(self, site: Administered) -> None:
        """Whoever an earlier reload has left inside is asked, too."""
        site.start(words("a"))
        with site.talk("a") as inside:
            assert inside.ask(b"hello") == b"hello"
            site.reload_well(words("a", more="threads = 7"))
            assert inside.ask(b"hello") == b"hello"
            site.reload_well(words("a", more="threads = 7") + self.DENY)
            assert inside.has_ended()

    @pytest.mark.long
    def test_unix_clients_by_their_groups(self, site: Administered) -> None:
        """Even if the lists before did not ask who they are."""
        site.start(words("a", listen='"unix:s"'))
        group = os.getgroups()[0] if os.getgroups() else os.getegid()
        with site.talk("a") as inside:
            assert inside.ask(b"hello") == b"hello"
            lists = f'[services.a.access]\ndeny = ["gid:{group}"]\n'
            site.reload_well(words("a", listen='"unix:s"') + lists)
            assert inside.has_ended()

    @pytest.mark.long
    def test_a_dry_run_ends_nobody(self, site: Administered) -> None:
        """It only says what would be."""
        site.start(words("a"))
        with site.talk("a") as inside:
            assert inside.ask(b"hello") == b"hello"
            site.reload_well(words("a") + self.DENY + "dry_run = true\n")
            assert inside.ask(b"hello") == b"hello"


class TestSuspended:
    def test_survives_a_reload(self, site: Administered) -> None:
        """Also for the new generation, which takes nobody at its start."""
        site.start(words("a") + words("b"))
        assert site.client.do("suspend", service="a").ok
        with ExitStack() as stack:
            waiting = [stack.enter_context(site.talk("a")) for _ in range(20)]
            for client in waiting:
                client.say(b"version")
            edit(site, "second")
            assert site.reload_well() == {"a": "change", "b": "change"}
            with site.talk("b") as other:
                assert other.ask(b"version") == b"second"
            assert site.service("a")["state"] == "suspended"
            assert (site.service("a")["served"], site.service("a")["active"]) == (0, 0)
            assert site.client.do("resume", service="a").ok
            for client in waiting:
                assert client.finish() == b"second\n"

    @pytest.mark.long
    def test_stop_does_not_wait_for_it(self, site: Administered) -> None:
        """Nobody takes those who wait there, so that there is nothing to wait for."""
        site.start(words("a"))
        assert site.client.do("suspend", service="a").ok
        with site.talk("a") as waiting:
            began = time.monotonic()
            assert site.daemon.stop() == 0
            assert time.monotonic() - began < 15
            assert waiting.has_ended()


class TestSignals:
    @pytest.mark.long
    def test_hup(self, site: Administered) -> None:
        """Says in the log what a command would say."""
        site.start(words("a"))
        site.configure(words("a", more="threads = 7"))
        site.daemon.signal(signal.SIGHUP)
        site.daemon.log.wait("change a: threads")
        site.daemon.log.wait(r"#info\] reloaded$")

    @pytest.mark.long
    def test_hup_twice_quickly(self, site: Administered) -> None:
        """The last one asked for wins, and one at a time."""
        site.start(words("a"))
        site.configure(words("a", more="threads = 7"))
        for _ in range(5):
            site.daemon.signal(signal.SIGHUP)
        edit(site, "second")
        site.daemon.signal(signal.SIGHUP)

        def version() -> bytes:
            with site.talk("a") as client:
                return client.ask(b"version")

        until(lambda: version() == b"second", "the last one has been reloaded")

    @pytest.mark.long
    def test_hup_while_it_starts(self, site: Administered) -> None:
        """From the import of the plugin on, it ends nothing."""
        slow = WORDS + "    import time; time.sleep(0.5)\n"
        site.project.handlers(slow)
        site.configure(words("a"))
        site.daemon = site.project.launch()
        until(lambda: "netd" in command_line(site.daemon.pid), "the program runs")
        # The interpreter itself, and twistd before it has found the plugin, are not netd's.
        until(lambda: ignores_hup(site.daemon.pid), "HUP ends nothing")
        for _ in range(3):
            site.daemon.signal(signal.SIGHUP)
        site.daemon.wait_until_ready()
        with site.talk("a") as client:
            assert client.ask(b"version") == b"one"

    @pytest.mark.long
    def test_term_during_a_reload(self, site: Administered) -> None:
        """The daemon leaves, and does not wait for an import that hangs."""
        site.start(words("a"))
        site.project.handlers("import time\ntime.sleep(1000)\n", "hanging")
        site.configure(words("a").replace("handlers:", "hanging:"))
        site.daemon.signal(signal.SIGHUP)
        probes = until_some(lambda: probes_of(site.daemon.pid))
        began = time.monotonic()
        assert site.daemon.stop() == 0
        assert time.monotonic() - began < 15
        until(lambda: not any(map(is_alive, probes)), "the import has ended, too")


def probes_of(pid: int) -> list[int]:
    """The pids of a daemon's probe and of the processes that import for it."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    found = [child for child in found if command_line(child).endswith(" probe")]
    below = [
        int(child)
        for probe in found
        for child in Path(f"/proc/{probe}/task/{probe}/children").read_text().split()
    ]
    return found + below if below else []


def until_some(look: Callable[[], list[int]]) -> list[int]:
    """Wait until *look* returns something, and return that."""
    found: list[int] = []

    def looks() -> bool:
        found[:] = look()
        return bool(found)

    until(looks, "there is something")
    return found


def ignores_hup(pid: int) -> bool:
    """Whether SIGHUP is ignored or caught by a process (proc(5))."""
    text = Path(f"/proc/{pid}/status").read_text()
    masks = [int(mask, 16) for mask in re.findall(r"^Sig(?:Ign|Cgt):\s*(\w+)$", text, re.M)]
    return any(mask >> signal.SIGHUP - 1 & 1 for mask in masks)


class TestStop:
    """The last stop: whoever is in the queues is served, and nobody is reset."""

    @pytest.mark.sweep
    @pytest.mark.parametrize("listen", [TCP, "unix:s"])
    @pytest.mark.parametrize("more", ["threads = 1", 'concurrency = "process"\nprocesses = 1'])
    def test_the_queue(self, site: Administered, listen: str, more: str) -> None:
        site.start(words("a", listen=f'"{listen}"', more=more))
        address = site.address("a")
        with site.talk("a") as busy, ExitStack() as stack:
            assert busy.ask(b"hello") == b"hello"
            waiting = [stack.enter_context(Conversation(address)) for _ in range(50)]
            for client in waiting:
                client.say(b"version")
            site.daemon.signal(signal.SIGTERM)
            site.daemon.log.wait("stopping: handlers have")
            assert busy.ask(b"hello") == b"hello"
            assert busy.finish() == b""
            for client in waiting:
                assert client.finish() == b"one\n"
        assert site.daemon.wait() == 0
        site.daemon.log.wait("stopped: 51 served, 0 refused, 0 failed")

    @pytest.mark.long
    def test_500_running_handlers(self, site: Administered) -> None:
        """All of them come to their end."""
        site.start(words("a", more="threads = 500"))
        address = site.address("a")
        with ExitStack() as stack:
            inside = [stack.enter_context(Conversation(address)) for _ in range(500)]
            for client in inside:
                assert client.ask(b"hello") == b"hello"
            site.daemon.signal(signal.SIGTERM)
            site.daemon.log.wait("stopping: handlers have")
            for client in inside:
                client.say(b"version")
            assert [client.finish() for client in inside] == [b"one\n"] * 500
        assert site.daemon.wait() == 0
        site.daemon.log.wait("stopped: 500 served, 0 refused, 0 failed")

    def test_drain_delay(self, site: Administered) -> None:
        """After TERM it goes on to accept; a second one ends it at once."""
        site.start('[daemon]\ndrain_delay = "1h"\n' + words("a"))
        site.daemon.signal(signal.SIGTERM)
        site.daemon.log.wait("stopping in 3600 s")
        with site.talk("a") as client:
            assert client.ask(b"sleep") == b"sleeping"
            site.daemon.signal(signal.SIGTERM)
            assert site.daemon.wait() == 0
            assert client.has_ended()

    @pytest.mark.long
    def test_drain_delay_ends(self, site: Administered) -> None:
        site.start('[daemon]\ndrain_delay = "300ms"\n' + words("a"))
        with site.talk("a") as client:
            assert client.ask(b"hello") == b"hello"
            site.daemon.signal(signal.SIGTERM)
            site.daemon.log.wait(r"stopping: handlers have")
            assert client.finish() == b""
        assert site.daemon.wait() == 0

    @pytest.mark.long
    def test_a_broken_service_does_not_hold_it_up(self, site: Administered) -> None:
        """Nobody takes for it, so nobody waits for its queue."""
        text = WORDS + ("    if os.path.exists('broken'): os._exit(3)\n")
        site.project.handlers(text)
        site.start(words("a"))
        (site.directory / "broken").touch()
        (worker,) = site.pids("a")
        os.kill(worker, signal.SIGKILL)
        site.daemon.log.wait("ended with status 3", count=3)
        with site.talk("a") as waiting:
            began = time.monotonic()
            assert site.daemon.stop() == 0
            assert time.monotonic() - began < 15
            assert waiting.has_ended()


class TestGenerations:
    @pytest.mark.long
    def test_three_at_most(self, site: Administered) -> None:
        """The oldest is ended when there would be more; its client has the end of it."""
        site.start(words("a"))
        with ExitStack() as stack:
            inside = []
            for threads in range(11, 15):
                inside.append(stack.enter_context(site.talk("a")))
                assert inside[-1].ask(b"hello") == b"hello"
                site.reload_well(words("a", more=f"threads = {threads}"))
            # Two are on their way out, beside the one that serves.
            assert inside[0].has_ended()
            assert inside[1].has_ended()
            assert [client.ask(b"hello") for client in inside[2:]] == [b"hello"] * 2
        site.daemon.log.wait("too many generations are draining: the oldest is ended")

    @pytest.mark.long
    def test_fewer_workers(self, site: Administered) -> None:
        """Whoever is inside one that goes is served to his end."""
        site.start(words("a", more="processes = 3"))
        with ExitStack() as stack:
            inside = [stack.enter_context(site.talk("a")) for _ in range(9)]
            for client in inside:
                assert client.ask(b"hello") == b"hello"
            site.reload_well(words("a", more="processes = 1"))
            assert len(site.pids("a")) == 1
            for client in inside:
                assert client.ask(b"version") == b"one"
                assert client.finish() == b""

    @pytest.mark.long
    def test_graceful_timeout(self, site: Administered) -> None:
        """The old generation leaves then, whoever is inside."""
        daemon = '[daemon]\ngraceful_timeout = "300ms"\n'
        site.start(daemon + words("a"))
        with site.talk("a") as inside:
            assert inside.ask(b"sleep") == b"sleeping"
            site.reload_well(daemon + words("a", more="threads = 7"))
            assert inside.has_ended()
        site.daemon.log.wait("still served when the time was over")
        until(lambda: not site.status()["draining"], "the old generation has left")


class TestPlugins:
    @pytest.mark.long
    def test_the_new_one_starts_when_the_old_one_has_gone(
        self, site: Administered, free_port: int
    ) -> None:
        """It binds for itself, so that there cannot be two."""
        (site.directory / "www").mkdir()
        (site.directory / "www" / "file").write_text("hello")

        def plugin(path: str) -> str:
            arguments = f'"--listen", "tcp:{free_port}:interface=127.0.0.1", "--path", "{path}"'
            return f'[services.p]\nplugin = "web"\narguments = [{arguments}]\n'

        site.start(plugin("www"))
        (site.directory / "other").mkdir()
        (site.directory / "other" / "file").write_text("changed")
        assert site.reload_well(plugin("other")) == {"p": "change"}

        def page() -> bytes:
            try:
                with socket.create_connection(("127.0.0.1", free_port), PATIENCE) as client:
                    client.sendall(b"GET /file HTTP/1.0\r\n\r\n")
                    return read_all(client).rpartition(b"\r\n\r\n")[2]
            except ConnectionError:
                return b""

        until(lambda: page() == b"changed", "the new one serves")
        assert not site.daemon.log.matching("Address already in use")
