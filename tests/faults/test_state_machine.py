"""A real daemon through random sequences of reloads, upgrades, suspensions and deaths."""

from __future__ import annotations

import os
import select
import shutil
import signal
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.faults.sites import HANDLERS, LOCAL, service
from tests.integration.administered import Administered, Conversation
from tests.integration.daemons import Project, children, is_fork_server, until

NAMES: Final = ("threads", "processes", "reactor")

MOST_FORK_SERVERS: Final = 2
"""Deaths of a fork server in a sequence: each next one comes later, and would be waited for."""

MOST_DESCRIPTORS: Final = 150
"""Of a daemon with three services and two generations on the way out."""


def table(name: str, version: int) -> str:
    """A service; versions are different configurations of it."""
    memory = (1 << 40) + version
    listen = [f"tcp:0{LOCAL}", f"unix:{name}"][: 1 + version % 2]
    if name == "reactor":
        return service(name, *listen, protocol="handlers:ReactorEcho", max_memory=memory)
    kind = "process" if name == "processes" else "thread"
    return service(
        name,
        *listen,
        handler="handlers:Echo",
        concurrency=kind,
        processes=3 if name == "processes" else 1,
        max_memory=memory,
    )


class Model:
    """What the daemon should be: its services by version, who is suspended, and who waits."""

    def __init__(self) -> None:
        self.versions = dict.fromkeys(NAMES, 0)
        self.suspended: set[str] = set()
        self.waiting: dict[str, list[Conversation]] = {}

    def text(self, versions: dict[str, int]) -> str:
        """The configuration with these services."""
        tables = "".join(table(name, version) for name, version in versions.items())
        return '[daemon]\ngraceful_timeout = "1h"\n' + tables


versions = strategies.fixed_dictionaries(
    {}, optional={name: strategies.integers(0, 3) for name in NAMES}
).filter(bool)


class DaemonMachine(RuleBasedStateMachine):
    """What is done to it, and what must be so after each step."""

    @initialize()
    def start(self) -> None:
        """A daemon that runs."""
        self.stack = ExitStack()
        directory = Path(tempfile.mkdtemp(prefix="netd-"))
        self.stack.callback(shutil.rmtree, directory)
        project = Project(directory)
        self.stack.callback(project.clean_up)
        project.handlers(HANDLERS)
        self.model = Model()
        self.site = Administered(project)
        self.daemon = self.site.start(self.model.text(self.model.versions))
        self.pids = self.fixed_pids()
        self.fork_servers = 0

    def teardown(self) -> None:
        """Whatever has happened, it leaves in good order."""
        if not hasattr(self, "daemon"):
            return
        try:
            for clients in self.model.waiting.values():
                for client in clients:
                    client.socket.close()
            assert self.daemon.stop() == 0
            assert not self.daemon.log.matching(r"^Traceback|Unhandled|an error in netd"), (
                self.daemon.log.text
            )
        finally:
            self.stack.close()

    # Rules.

    @rule(new=versions)
    def reload(self, new: dict[str, int]) -> None:
        """Another configuration: each service kept, changed, added or removed."""
        fates = self.site.reload_well(self.model.text(new))
        for name in NAMES:
            old = self.model.versions.get(name)
            if name not in new:
                assert fates.get(name) == (None if old is None else "remove")
                self.model.suspended.discard(name)
                self.forget(name)
            else:
                expected = "add" if old is None else "keep" if old == new[name] else "change"
                assert fates[name] == expected
        kept = {name for name, fate in fates.items() if fate == "keep"}
        self.model.versions = new
        now = self.fixed_pids()
        for name in kept & now.keys() & self.pids.keys():
            assert now[name] == self.pids[name], name
        self.pids = now

    @rule(new=versions)
    def upgrade(self, new: dict[str, int]) -> None:
        """Another daemon, perhaps with another configuration; those who wait go on waiting."""
        kept = self.model.versions.keys() & new.keys()
        addresses = {name: self.site.address(name) for name in kept}
        self.site.configure(self.model.text(new))
        old = self.site.upgrade_well()
        self.daemon = self.site.daemon
        for name in NAMES:
            if name not in new:
                self.model.suspended.discard(name)
                self.forget(name)
        self.model.versions = new
        assert {name: self.site.address(name) for name in kept} == addresses
        assert old.wait() == 0
        self.pids = self.fixed_pids()

    @rule()
    def upgrade_to_what_is_broken(self) -> None:
        """The old daemon goes on."""
        text = self.model.text(self.model.versions)
        self.site.configure(text + service("broken", f"tcp:0{LOCAL}", handler="no:No"))
        assert not self.site.client.do("upgrade").ok
        self.site.configure(text)
        assert self.fixed_pids() == self.pids

    @rule()
    def reload_what_is_broken(self) -> None:
        """Nothing has happened."""
        text = self.model.text(self.model.versions)
        assert not self.site.reload(text + service("broken", f"tcp:0{LOCAL}", handler="no:No")).ok
        self.site.configure(text)
        assert self.fixed_pids() == self.pids

    @rule(name=strategies.sampled_from(NAMES))
    def suspend(self, name: str) -> None:
        """A service takes nobody."""
        assert self.site.client.do("suspend", service=name).ok == (name in self.model.versions)
        if name in self.model.versions:
            self.model.suspended.add(name)

    @rule(name=strategies.sampled_from(NAMES))
    def drain(self, name: str) -> None:
        """The same, and nobody is inside: clients of this test have left."""
        assert self.site.client.do("drain", service=name).ok == (name in self.model.versions)
        if name in self.model.versions:
            self.model.suspended.add(name)
            assert self.site.service(name)["active"] == 0

    @rule(name=strategies.sampled_from(NAMES))
    def resume(self, name: str) -> None:
        """It takes again, first of all those who wait."""
        assert self.site.client.do("resume", service=name).ok == (name in self.model.versions)
        self.model.suspended.discard(name)
        for client in self.model.waiting.pop(name, []):
            assert client.hear() == b"waiting"
            client.socket.close()

    @precondition(lambda self: self.model.suspended)
    @rule(data=strategies.data())
    def wait_at(self, data: Any) -> None:
        """A client comes to a suspended service."""
        name = data.draw(strategies.sampled_from(sorted(self.model.suspended)))
        client = Conversation(self.site.address(name))
        client.say(b"waiting")
        self.model.waiting.setdefault(name, []).append(client)

    @rule(data=strategies.data())
    def kill_a_worker(self, data: Any) -> None:
        """Another one takes its place."""
        name = data.draw(strategies.sampled_from(sorted(self.model.versions)))
        pid = self.site.pids(name)[0]
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in self.site.pids(name), "the daemon knows that it has gone")
        self.pids = self.fixed_pids()

    @precondition(lambda self: self.fork_servers < MOST_FORK_SERVERS)
    @rule()
    def kill_the_fork_server(self) -> None:
        """Workers go on, and there will be another."""
        self.fork_servers += 1
        until(lambda: any(map(is_fork_server, children(self.daemon.pid))), "there is one")
        server = self.daemon.fork_server()
        os.kill(server, signal.SIGKILL)
        until(lambda: server not in children(self.daemon.pid), "it has gone")
        assert self.fixed_pids() == self.pids

    # Invariants.

    @invariant()
    def serving_services_answer(self) -> None:
        """By every listener, at once."""
        for name in self.model.versions.keys() - self.model.suspended:
            for number in range(len(self.site.service(name)["listeners"])):
                with self.site.talk(name, number) as client:
                    assert client.ask(b"hello") == b"hello", name
        until(lambda: not self.somebody_is_inside(), "the clients have left")

    @invariant()
    def suspended_services_do_not(self) -> None:
        """Their clients wait: nothing comes, not even an end."""
        clients = [client for some in self.model.waiting.values() for client in some]
        readable, _, _ = select.select([client.socket for client in clients], [], [], 0.02)
        assert not readable
        states = {one["name"]: one["state"] for one in self.site.status()["services"]}
        assert {name for name, state in states.items() if state == "suspended"} == (
            self.model.suspended
        )

    @invariant()
    def resources_are_bounded(self) -> None:
        """Descriptors, and no child that has ended and is not reaped."""
        assert len(os.listdir(f"/proc/{self.daemon.pid}/fd")) < MOST_DESCRIPTORS
        until(lambda: not zombies(self.daemon.pid), "all children are reaped")

    # Looking.

    def fixed_pids(self) -> dict[str, list[int]]:
        """The pids of the services of which there is a fixed number of workers."""
        self.wait_until_up()
        return {
            one["name"]: [process["pid"] for process in one["processes"]]
            for one in self.site.status()["services"]
            if one["name"] != "processes"
        }

    def wait_until_up(self) -> None:
        """Wait until every worker that is there serves."""

        def is_up() -> bool:
            services = self.site.status()["services"]
            return all(
                one["processes"] and all(p["state"] == "serving" for p in one["processes"])
                for one in services
                if one["name"] != "processes"
            ) and all(one["state"] in ("serving", "suspended") for one in services)

        until(is_up, "all workers serve")

    def somebody_is_inside(self) -> bool:
        return any(one["active"] for one in self.site.status()["services"])

    def forget(self, name: str) -> None:
        """A service has gone; those who waited there have the end of it."""
        for client in self.model.waiting.pop(name, []):
            assert client.has_ended()
            client.socket.close()


def zombies(pid: int) -> list[int]:
    """The children of a process that have ended and are not reaped."""
    found = []
    for child in children(pid):
        with suppress(FileNotFoundError):
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z":
                found.append(child)
    return found


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_random_sequences(is_long: bool) -> None:
    """A few in the short form, many in the long one; what fails is printed as a program."""
    run_state_machine_as_test(
        DaemonMachine,
        settings=settings(
            max_examples=25 if is_long else 3,
            stateful_step_count=40 if is_long else 10,
            deadline=None,
            derandomize=not is_long,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
