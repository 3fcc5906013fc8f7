"""``netd.config.plan``: what becomes of each service, and why."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from netd.config.load import load
from netd.config.plan import Action, Plan, Setting, Step, plan
from netd.listening.options.apply import read
from netd.model.address import InetAddress, Transport, UnixAddress
from netd.model.log import Log
from netd.model.service import (
    Access,
    Configuration,
    Plugin,
    Program,
    Reference,
    Requested,
    Runs,
    Service,
    Stamp,
)
from netd.model.socket_options import SetOption
from netd.model.tls import Identity, Pem, Tls

HANDLER = Runs("handler", Reference("m", "H"))
FILE = Stamp("/srv/m.py", 1, 10, 100)


def service(name: str, worker: str | None = None, **keys: Any) -> Service:
    keys = {"listen": (InetAddress(Transport.TCP, 80),), "runs": HANDLER, **keys}
    return Service(name, worker=worker or name, **keys)


def configuration(*services: Service, **keys: Any) -> Configuration:
    return Configuration("netd.toml", services, **keys)


def planned(old: list[Service], new: list[Service]) -> dict[str, tuple[Action, tuple[str, ...]]]:
    found = plan(configuration(*old), configuration(*new))
    return {step.service: (step.action, step.why) for step in found.steps}


def is_empty(found: Plan) -> bool:
    """Whether every service is kept."""
    return all(step.action is Action.KEEP for step in found.steps)


class TestActions:
    def test_each(self) -> None:
        """Those of the new configuration in its order, then those that go."""
        old = configuration(*map(service, ("kept", "changed", "removed", "disabled")))
        new = configuration(
            service("added"),
            service("changed", threads=7),
            service("kept"),
            disabled=frozenset({"disabled", "never there"}),
        )
        assert plan(old, new).steps == (
            Step("added", Action.ADD),
            Step("changed", Action.CHANGE, ("threads",)),
            Step("kept", Action.KEEP),
            Step("removed", Action.REMOVE),
            Step("disabled", Action.DRAIN),
        )

    def test_nothing_at_all(self) -> None:
        """An empty configuration after an empty one."""
        assert is_empty(plan(configuration(), configuration()))

    def test_changes_nothing(self) -> None:
        """Only if everybody is kept; who goes is a change, too."""
        assert is_empty(plan(configuration(service("a")), configuration(service("a"))))
        assert not is_empty(plan(configuration(service("a")), configuration()))

    def test_the_order_is_no_change(self) -> None:
        a, b = service("a"), service("b")
        assert is_empty(plan(configuration(a, b), configuration(b, a)))

    def test_fates(self) -> None:
        """Who has one of several."""
        made = Plan((Step("a", Action.ADD), Step("b", Action.CHANGE), Step("c", Action.KEEP)))
        assert made.services(Action.ADD, Action.CHANGE) == {"a", "b"}

    def test_text(self) -> None:
        """A line of log."""
        assert str(Step("a", Action.CHANGE, ("threads", "/srv/m.py"))) == (
            "change a: threads, /srv/m.py"
        )
        assert str(Step("a", Action.KEEP)) == "keep a"


class TestSettings:
    def test_those_of_the_daemon(self) -> None:
        """Each with what it was and is; and which of them a reload does not take."""
        old = configuration(service("a"))
        new = configuration(
            service("a"),
            graceful_timeout=5.0,
            drain_delay=1.5,
            log=Log("json", "debug", False, "/var/log/netd"),
            admin_socket="/run/netd.sock",
        )
        found = plan(old, new)
        assert is_empty(found)
        assert [str(setting) for setting in found.settings] == [
            "change daemon.graceful_timeout: 30.0 to 5.0",
            "change daemon.drain_delay: 0.0 to 1.5",
            'change log.format: "text" to "json"',
            'change log.level: "info" to "debug"',
            "change log.connections: true to false",
            'change log.file: nothing to "/var/log/netd"',
            "keep admin.socket as it is until netd is restarted",
        ]
        assert found.settings[-1] == Setting("admin.socket", None, "/run/netd.sock", True)

    def test_none(self) -> None:
        assert plan(configuration(), configuration()).settings == ()


OTHERWISE: dict[str, Any] = {
    "listen": (UnixAddress(Transport.UNIX, "/run/a"),),
    "runs": Runs("handler", Reference("m", "Other")),
    "concurrency": "process",
    "threads": 7,
    "processes": 3,
    "backlog": 5,
    "datagram_size": 100,
    "max_requests": 9,
    "max_memory": 1 << 30,
    "handler_timeout": 2.0,
    "access": Access(deny=("10.0.0.0/8",)),
    "tls": Tls(Identity(Pem("/etc/a.pem", b"a"), Pem("/etc/a.key", b"b"))),
    "proxies": ("10.0.0.1/32",),
    "handshakes": 5,
    "amplification": 3.0,
    "options": {"directory": "/srv"},
}

KEEPALIVE = read("SO_KEEPALIVE", True)


class TestDifferences:
    @pytest.mark.parametrize("key", OTHERWISE)
    def test_a_key(self, key: str) -> None:
        """It is named."""
        new = service("a", **{key: OTHERWISE[key]})
        assert planned([service("a")], [new]) == {"a": (Action.CHANGE, (key,))}

    @pytest.mark.parametrize(
        ("old", "new", "why"),
        [
            ([], [KEEPALIVE], ("socket.SO_KEEPALIVE",)),
            ([KEEPALIVE], [], ("socket.SO_KEEPALIVE",)),
            ([KEEPALIVE], [read("SO_KEEPALIVE", False)], ("socket.SO_KEEPALIVE",)),
            ([], [KEEPALIVE, read("TCP_KEEPIDLE", 7)],
             ("socket.SO_KEEPALIVE", "socket.TCP_KEEPIDLE")),
            ([], [read("IPV6_V6ONLY", False)],
             ("socket.IPV6_V6ONLY (on new listeners only)",)),
        ],
    )  # fmt: skip
    def test_a_socket_option(
        self, old: list[SetOption], new: list[SetOption], why: tuple[str, ...]
    ) -> None:
        """Each is named; what has to be set before bind comes too late for who is bound."""
        before, after = (service("a", socket=tuple(options)) for options in (old, new))
        assert planned([before], [after]) == {"a": (Action.CHANGE, why)}

    def test_a_mode_of_a_socket(self) -> None:
        """Part of what is listened on."""
        path = UnixAddress(Transport.UNIX, "/run/a", mode=0o660)
        old, new = (service("a", listen=(replace(path, mode=mode),)) for mode in (0o660, 0o600))
        assert planned([old], [new]) == {"a": (Action.CHANGE, ("listen",))}

    def test_where_a_value_comes_from_is_no_change(self) -> None:
        """Only what it is."""
        wanted = service("a", own=Requested(threads=7), threads=7, written=frozenset({"threads"}))
        defaulted = service("a", defaults=Requested(threads=7), threads=7)
        assert planned([wanted], [defaulted]) == {"a": (Action.KEEP, ())}

    def test_defaults_moved_into_a_table(self, tmp_path: Path) -> None:
        """The same, from real files; includes and places change with it."""
        (tmp_path / "m.py").touch()
        table = '[services.a]\nhandler = "m:H"\nlisten = ["tcp:80"]\n'
        old, new = tmp_path / "old.toml", tmp_path / "new.toml"
        old.write_text("[defaults]\nhandler_timeout = 7\n" + table)
        new.write_text(table + "handler_timeout = 7\n")
        before, after = (replace(load(str(file)), file="netd.toml") for file in (old, new))
        assert is_empty(plan(before, after))

    def test_every_field_is_known_here(self) -> None:
        """Whoever adds one decides whether it is a change."""
        compared = {field.name for field in fields(Service) if field.compare}
        elsewhere = {"name", "worker", "sources", "forks", "reuse_port", "owner", "environment"}
        elsewhere |= {"socket"}
        assert compared == {*OTHERWISE, *elsewhere}


class TestTls:
    """The files of a ``[tls]``, which may change while the table does not."""

    def test_a_file_that_was_written(self) -> None:
        """A new certificate is a change of its file; the key is another one."""
        old, new = (Tls(Identity(Pem("/c", text), Pem("/k", b"key"))) for text in (b"1", b"2"))
        found = planned([service("a", tls=old)], [service("a", tls=new)])
        assert found == {"a": (Action.CHANGE, ("/c",))}

    def test_files_of_other_names_and_of_clients(self) -> None:
        """So it is of all files that the table names."""
        own = Identity(Pem("/c", b"c"), Pem("/k", b"k"))
        others = [Identity(Pem("/o", text), Pem("/o", text)) for text in (b"1", b"2")]
        old, new = (
            Tls(own, (("a.b", other),), client_ca=Pem("/ca", text))
            for other, text in zip(others, (b"1", b"2"), strict=True)
        )
        found = planned([service("a", tls=old)], [service("a", tls=new)])
        assert found == {"a": (Action.CHANGE, ("/ca", "/o"))}

    def test_a_key_of_the_table(self) -> None:
        """Where it says something else, that is the reason."""
        own = Identity(Pem("/c", b"1"), Pem("/k", b"k"))
        other = Identity(Pem("/d", b"2"), Pem("/k", b"k"))
        for new in (None, Tls(other), Tls(own, alpn=("h2",))):
            found = planned([service("a", tls=Tls(own))], [service("a", tls=new)])
            assert found == {"a": (Action.CHANGE, ("tls",))}


class TestSources:
    @pytest.mark.parametrize(
        "other",
        [replace(FILE, inode=2), replace(FILE, size=11), replace(FILE, changed=101)],
        ids=["inode", "size", "time"],
    )
    def test_a_file_that_was_written(self, other: Stamp) -> None:
        old, new = service("a", sources=(FILE,)), service("a", sources=(other,))
        assert planned([old], [new]) == {"a": (Action.CHANGE, ("/srv/m.py",))}

    def test_a_file_that_is_imported_now_or_no_more(self) -> None:
        """A module that a handler can do without has been written, or deleted."""
        settings = Stamp("/srv/settings.py", 5, 5, 5)
        without, with_it = service("a", sources=(FILE,)), service("a", sources=(FILE, settings))
        assert planned([without], [with_it]) == {"a": (Action.CHANGE, ("/srv/settings.py",))}
        assert planned([with_it], [without]) == {"a": (Action.CHANGE, ("/srv/settings.py",))}

    def test_the_order_of_imports_is_no_change(self) -> None:
        other = Stamp("/srv/n.py", 5, 5, 5)
        old, new = service("a", sources=(FILE, other)), service("a", sources=(other, FILE))
        assert planned([old], [new]) == {"a": (Action.KEEP, ())}

    @pytest.mark.parametrize(
        ("runs", "fate"),
        [
            (HANDLER, Action.CHANGE),
            (Plugin("web", ()), Action.CHANGE),
            (Program("/bin/cat", ("cat",)), Action.KEEP),
        ],
        ids=["handler", "plugin", "program"],
    )
    def test_the_path_that_code_is_found_by(self, runs: Any, fate: Action) -> None:
        """Another ``python_path`` may find other modules, and no other programs."""
        old = configuration(service("a", runs=runs), python_path=("/srv/one",))
        new = configuration(service("a", runs=runs), python_path=("/srv/two",))
        assert plan(old, new).services(fate) == {"a"}


class TestSharedWorkers:
    SHARED = ("shares worker w, which is replaced",)

    def test_one_that_changes(self) -> None:
        """Takes the others of its worker with it, and nobody else."""
        old = [service("a", "w"), service("b", "w"), service("c")]
        new = [service("a", "w", threads=7), service("b", "w"), service("c")]
        assert planned(old, new) == {
            "a": (Action.CHANGE, ("threads",)),
            "b": (Action.CHANGE, self.SHARED),
            "c": (Action.KEEP, ()),
        }

    def test_one_that_comes(self) -> None:
        new = [service("a", "w"), service("b", "w")]
        assert planned([service("a", "w")], new) == {
            "a": (Action.CHANGE, self.SHARED),
            "b": (Action.ADD, ()),
        }

    def test_one_that_goes(self) -> None:
        old = [service("a", "w"), service("b", "w")]
        assert planned(old, [service("a", "w")]) == {
            "a": (Action.CHANGE, self.SHARED),
            "b": (Action.REMOVE, ()),
        }

    def test_one_that_moves(self) -> None:
        """Out of one worker and into another: all three are replaced."""
        old = [service("a", "v"), service("b", "v"), service("c", "w")]
        new = [service("a", "v"), service("b", "w"), service("c", "w")]
        assert planned(old, new) == {
            "a": (Action.CHANGE, ("shares worker v, which is replaced",)),
            "b": (Action.CHANGE, ("worker",)),
            "c": (Action.CHANGE, self.SHARED),
        }
