"""``netd.config.load``: files put together, and what is wrong with them all at once."""

from __future__ import annotations

import dataclasses
import grp
import os
import pickle
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netd.config.load import load, loaded
from netd.model.address import InetAddress, Transport, UnixAddress
from netd.model.log import Log
from netd.model.problem import ConfigurationError
from netd.model.service import (
    Access,
    Configuration,
    Owner,
    Plugin,
    Program,
    Reference,
    Requested,
    Runs,
    Service,
)

TIME = '[services.time]\nlisten = ["tcp:10037"]\nhandler = "timeserver:TimeServer"\n'

NOTHING_RUNS = (
    'is required: what it runs, "handler" or "server" or "protocol" or "program" or "plugin"'
)

NOBODY = next(uid for uid in range(4_000_000_000, 4_000_001_000) if uid not in {
    entry.pw_uid for entry in pwd.getpwall()
})  # fmt: skip
"""A user that this system does not know."""

SOMEBODY = pwd.getpwall()[-1]


def service(name: str, port: int, *more: str) -> str:
    head = f'[services.{name}]\nlisten = ["tcp:{port}"]\nhandler = "m:C"\n'
    return head + "".join(f"{line}\n" for line in more)


class Files:
    """A directory of configuration files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, *texts: str) -> Path:
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(texts))
        return file

    def load(self, *texts: str) -> Configuration:
        """Write the main file and load it with what it includes."""
        return load(str(self.write("netd.toml", *texts)))

    def problems(self, *texts: str) -> list[str]:
        """The lines that the files are refused with, without the directory."""
        with pytest.raises(ConfigurationError) as caught:
            self.load(*texts)
        return str(caught.value).replace(f"{self.directory}/", "").splitlines()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def names(configuration: Configuration) -> list[str]:
    return [each.name for each in configuration.services]


class TestService:
    def test_has_the_defaults_of_the_contract(self, files: Files) -> None:
        """Two keys are enough for a service."""
        (found,) = files.load(TIME).services
        assert found == Service(
            name="time",
            listen=(InetAddress(Transport.TCP, 10037),),
            runs=Runs("handler", Reference("timeserver", "TimeServer")),
            worker="time",
            own=Requested(),
            defaults=Requested(),
            concurrency="thread",
            threads=100,
            processes=1,
            backlog=1024,
            datagram_size=8192,
            reuse_port=False,
            written=frozenset({"listen", "handler"}),
            owner=Owner(None, None),
            access=Access(None, (), None, 5.0, False),
            proxies=(),
            handshakes=1000,
            options={},
        )
        assert (found.own, found.defaults) == (Requested(), Requested())

    def test_has_what_is_written(self, files: Files) -> None:
        """Every key arrives where the worker reads it."""
        (found,) = files.load("""
            [services.time]
            listen = ["tcp6:80:interface=[::1]", "unixgram:/run/t:mode=600", "udp:0", "unix:@t"]
            handler = "a.b.c:D"
            concurrency = "process"
            threads = 10_000
            processes = 1_000
            worker = "shared"
            backlog = 65535
            datagram_size = "1MiB"
            enabled = true
            options = {directory = "/srv", deep = {list = [1, {a = 2026-01-01}]}}
            [services.time.access]
            allow = ["10.0.0.0/8", "unix", "uid:5"]
            deny = ["::1"]
            verify_request = "checks:verify"
            verify_timeout = "250ms"
            dry_run = true
            [services.time.proxy_protocol]
            from = ["10.0.0.1", "::ffff:10.1.0.0/112", "unix"]
            [services.time.limits]
            handshakes = 5
        """).services
        assert found.listen == (
            InetAddress(Transport.TCP6, 80, "::1"),
            UnixAddress(Transport.UNIXGRAM, "/run/t", 0o600),
            InetAddress(Transport.UDP, 0),
            UnixAddress(Transport.UNIX, "@t"),
        )
        assert found.runs == Runs("handler", Reference("a.b.c", "D"))
        assert found.worker == "shared"
        assert found.own == Requested("process", 10_000, 1_000, 65535, 1 << 20)
        assert found.defaults == Requested()
        assert found.options["directory"] == "/srv"
        assert found.access == Access(
            ("10.0.0.0/8", "unix", "uid:5"),
            ("::1",),
            Reference("checks", "verify"),
            0.25,
            dry_run=True,
        )
        assert found.proxies == ("10.0.0.1", "10.1.0.0/16", "unix")
        assert found.handshakes == 5

    def test_that_allows_nobody_is_not_one_that_allows_everybody(self, files: Files) -> None:
        """An empty list is an answer; none at all is not."""
        (found,) = files.load(TIME, "access.allow = []\n").services
        assert found.access.allow == ()

    def test_keeps_the_order_of_the_file(self, files: Files) -> None:
        """Services come as they are written, which a person chose."""
        assert names(files.load(*(service(name, ord(name)) for name in "cab"))) == ["c", "a", "b"]

    def test_that_is_disabled_is_checked_but_left_out(self, files: Files) -> None:
        """Switching a service off does not hide a problem in it, and takes no address."""
        off = service("b", 1, "enabled = false")
        assert names(files.load(service("a", 1), off)) == ["a"]
        assert files.problems(service("a", 1), off, "threads = 0\n") == [
            "netd.toml:8: services.b.threads: must be 1 or more, not 0"
        ]

    def test_may_be_the_only_one_and_disabled(self, files: Files) -> None:
        """A file that says what it does not serve is no file without services."""
        assert files.load(TIME, "enabled = false\n").services == ()

    @pytest.mark.parametrize("name", ["a", "0", "A-b_c.d", "x" * 100, "example.com"])
    def test_name_can_be(self, files: Files, name: str) -> None:
        """Names that people give to hosts and programs."""
        assert names(files.load(service(f'"{name}"', 1))) == [name]

    @pytest.mark.parametrize(
        ("name", "key"),
        [
            ("", '""'), ("a b", '"a b"'), (".a", '".a"'), ("-a", "-a"), ("é", '"é"'),
            ("a/b", '"a/b"'), ("\\u0000", '"\\u0000"'), ("a\\nb", '"a\\nb"'),
            ("a\\u001b", '"a\\u001b"'),
        ],
    )  # fmt: skip
    def test_name_cannot_be(self, files: Files, name: str, key: str) -> None:
        """It stands in log lines, command lines and metrics, and a problem with it is a line."""
        quoted = key if key.startswith('"') else f'"{key}"'
        assert files.problems(service(f'"{name}"', 1)) == [
            f"netd.toml:1: services.{key}: {quoted} is no name: write letters and digits, and"
            " . _ - but not first, 100 characters at most"
        ]

    def test_name_is_short(self, files: Files) -> None:
        """memfd_create takes 249 bytes of a name, and somebody reads it in a column."""
        (problem,) = files.problems(service("x" * 101, 1))
        assert problem.endswith("100 characters at most")


class TestRuns:
    """What a service runs: one thing, its own or that of the defaults."""

    LISTEN = '[services.a]\nlisten = ["tcp:1"]\n'

    @pytest.mark.parametrize(
        ("keys", "expected"),
        [
            ('handler = "m:C"', Runs("handler", Reference("m", "C"))),
            ('server = "m.n:S"', Runs("server", Reference("m.n", "S"))),
            (
                'server = "m:S"\nhandler = "m:C"',
                Runs("server", Reference("m", "S"), Reference("m", "C")),
            ),
            (
                'handler = "echo"\nserver = "m:S"',
                Runs("server", Reference("m", "S"), Reference("netd.handlers.small", "Echo")),
            ),
            ('protocol = "m:P"', Runs("protocol", Reference("m", "P"))),
            ('program = ["/bin/sh", "-c", ""]', Program("/bin/sh", ("/bin/sh", "-c", ""))),
            (
                'program = ["/bin/../bin/sh"]\nwait = true',
                Program("/bin/sh", ("/bin/../bin/sh",), wait=True),
            ),
        ],
    )
    def test_can_be(self, files: Files, keys: str, expected: object) -> None:
        """Each by its own key."""
        (found,) = files.load(self.LISTEN, keys).services
        assert found.runs == expected

    @pytest.mark.parametrize("name", ["echo", "discard", "chargen", "daytime", "time"])
    def test_can_be_named(self, files: Files, name: str) -> None:
        """The small services need no module of anybody's."""
        (found,) = files.load(self.LISTEN, f'handler = "{name}"').services
        reference = Reference("netd.handlers.small", name.capitalize())
        assert found.runs == Runs("handler", reference)

    def test_a_plugin_listens_for_itself(self, files: Files) -> None:
        """It has arguments, and no key that says where."""
        text = '[services.a]\nplugin = "web"\narguments = ["--listen", "tcp:1"]\n'
        (found,) = files.load(text).services
        assert found.runs == Plugin("web", ("--listen", "tcp:1"))
        assert found.listen == ()
        assert files.problems(text, 'listen = ["tcp:2"]') == [
            "netd.toml:4: services.a.listen: a plugin binds by itself: set the address in its"
            " arguments"
        ]

    def test_a_plugin_has_no_listeners_of_the_defaults(self, files: Files) -> None:
        """They are for the services that they fit."""
        found = files.load(
            '[defaults]\nlisten = ["tcp:1"]\n[services.a]\nplugin = "web"\n',
            '[services.b]\nhandler = "m:C"\n',
        )
        assert [len(each.listen) for each in found.services] == [0, 1]

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ('handler = "m:C"', 'protocol = "m:P"'),
            ('server = "m:S"', 'protocol = "m:P"'),
            ('handler = "m:C"', 'program = ["sh"]'),
            ('protocol = "m:P"', 'program = ["sh"]'),
            ('server = "m:S"', 'program = ["sh"]'),
        ],
    )
    @pytest.mark.parametrize("turned", [False, True])
    def test_is_one_thing(self, files: Files, first: str, second: str, turned: bool) -> None:
        """Two are said at the later key of the contract's, in whatever order they are written."""
        lines = [second, first] if turned else [first, second]
        (problem,) = files.problems(self.LISTEN, "\n".join(lines))
        here, beside = second.split()[0], first.split()[0]
        assert problem == (
            f"netd.toml:{3 if turned else 4}: services.a.{here}: stands beside {beside}, and a "
            "service runs one thing, or a server and its handler; make two services of them"
        )

    def test_is_not_three_things(self, files: Files) -> None:
        """That a server may have a handler does not make room for more."""
        keys = 'handler = "m:C"\nserver = "m:S"\nprotocol = "m:P"'
        (problem,) = files.problems(self.LISTEN, keys)
        assert problem.startswith("netd.toml:5: services.a.protocol: stands beside handler")

    def test_is_required(self, files: Files) -> None:
        """A place to listen on is not yet a service."""
        assert files.problems(self.LISTEN) == [f"netd.toml:1: services.a.handler: {NOTHING_RUNS}"]

    @pytest.mark.parametrize(
        ("usual", "own", "expected"),
        [
            ('server = "d:S"\nhandler = "d:C"', 'handler = "m:C"', "handler"),
            ('handler = "d:C"', 'server = "m:S"', "server"),
            ('handler = "d:C"', 'protocol = "m:P"', "protocol"),
            ('protocol = "d:P"', 'handler = "m:C"', "handler"),
            ('program = ["sh"]', 'protocol = "m:P"', "protocol"),
        ],
    )
    def test_is_its_own_or_all_of_the_defaults(
        self, files: Files, usual: str, own: str, expected: str
    ) -> None:
        """What the defaults run is not put together with what the service runs."""
        (found,) = files.load(f"[defaults]\n{usual}\n", self.LISTEN, own).services
        assert isinstance(found.runs, Runs)
        assert (found.runs.key, found.runs.reference.module) == (expected, "m")
        assert found.runs.handler is None

    def test_of_the_defaults(self, files: Files) -> None:
        """A server and its handler come together, and where two stand, it is said once."""
        usual = '[defaults]\nserver = "d:S"\nhandler = "d:C"\n'
        (found,) = files.load(usual, self.LISTEN).services
        assert found.runs == Runs("server", Reference("d", "S"), Reference("d", "C"))
        other = '[services.b]\nlisten = ["tcp:2"]\n'
        (problem,) = files.problems(usual, 'protocol = "d:P"\n', self.LISTEN, other)
        assert problem.startswith("netd.toml:4: defaults.protocol: stands beside handler")

    @pytest.mark.parametrize(
        ("key", "needed"), [("wait = true", "program"), ('arguments = ["-v"]', "plugin")]
    )
    def test_is_what_other_keys_are_for(self, files: Files, key: str, needed: str) -> None:
        """A key that only one of them knows means nothing beside the others."""
        name = key.split()[0]
        text = f'handler = "m:C"\n{key}\n'
        assert files.problems(self.LISTEN, text) == [
            f"netd.toml:4: services.a.{name}: has no effect without {needed}: leave it out"
        ]
        # In the defaults it is for the services that it fits.
        assert names(files.load(f"[defaults]\n{key}\n", self.LISTEN, 'handler = "m:C"')) == ["a"]

    def test_of_a_program_is_there(self, files: Files) -> None:
        """By its path, from the file that it stands in, or by its name."""
        files.write("d/bin/tool")
        files.write("d/a.toml", self.LISTEN, 'program = ["bin/tool", "bin/tool"]')
        (found,) = files.load('include = ["d/a.toml"]').services
        tool = f"{files.directory}/d/bin/tool"
        assert found.runs == Program(tool, ("bin/tool", "bin/tool"))
        for name in ("no-such-tool", "./none", "/none", "."):
            (problem,) = files.problems(self.LISTEN, f'program = ["{name}"]')
            assert problem.startswith("netd.toml:3: services.a.program: there is no program ")


class TestWanted:
    """How a service is to be run, of which only some can be decided here."""

    def test_its_own_and_the_defaults_are_kept_apart(self, files: Files) -> None:
        """A server class comes between them."""
        usual = '[defaults]\nconcurrency = "process"\nprocesses = 4\nthreads = 9\nbacklog = 8\n'
        (found,) = files.load(usual, service("a", 1, "processes = 2", "datagram_size = 7")).services
        assert found.own == Requested(processes=2, datagram_size=7)
        assert found.defaults == Requested("process", threads=9, backlog=8)

    def test_is_not_what_a_reload_compares(self, files: Files) -> None:
        """Only what comes of it counts: the same number from another place is no change."""
        (first,) = files.load("[defaults]\nthreads = 9\n", service("a", 1)).services
        (second,) = files.load(service("a", 1, "threads = 9")).services
        assert first.own != second.own
        assert dataclasses.replace(first, written=second.written) == second


class TestUser:
    def test_brings_the_primary_group(self, files: Files) -> None:
        """By name and by number, as login does."""
        expected = Owner(SOMEBODY.pw_uid, SOMEBODY.pw_gid)
        for user in (f'"{SOMEBODY.pw_name}"', str(SOMEBODY.pw_uid)):
            assert files.load(TIME, f"user = {user}\n").services[0].owner == expected

    def test_group_wins_over_the_primary_one(self, files: Files) -> None:
        """By name and by number."""
        group = grp.getgrall()[-1]
        for written in (f'"{group.gr_name}"', str(group.gr_gid)):
            found = files.load(TIME, f"user = {SOMEBODY.pw_uid}\n", f"group = {written}\n")
            assert found.services[0].owner == Owner(SOMEBODY.pw_uid, group.gr_gid)

    def test_group_can_stand_alone(self, files: Files) -> None:
        """The user then stays the daemon's."""
        assert files.load(TIME, "group = 5\n").services[0].owner == Owner(None, 5)

    def test_without_an_entry_needs_a_group(self, files: Files) -> None:
        """Nobody guesses the group of a number."""
        assert files.problems(TIME, f"user = {NOBODY}\n") == [
            f"netd.toml:4: services.time.user: user {NOBODY} has no entry in the passwd file, so"
            " it needs a group beside it"
        ]
        found = files.load(TIME, f"user = {NOBODY}\ngroup = 5\n")
        assert found.services[0].owner == Owner(NOBODY, 5)

    def test_without_an_entry_in_the_defaults_is_said_once(self, files: Files) -> None:
        """At the line of the defaults, and not for the service that has a group."""
        texts = [
            f"[defaults]\nuser = {NOBODY}\n",
            service("a", 1), service("b", 2), service("c", 3, "group = 5"),
        ]  # fmt: skip
        (problem,) = files.problems(*texts)
        assert problem.startswith(f"netd.toml:2: defaults.user: user {NOBODY} has no entry")


class TestWorker:
    def test_is_shared_by_name(self, files: Files) -> None:
        """Services that name one worker get one, and the others their own."""
        shared = 'worker = "w"'
        found = files.load(service("a", 1, shared), service("b", 2, shared), service("c", 3))
        assert [each.worker for each in found.services] == ["w", "w", "c"]

    def test_has_one_user(self, files: Files) -> None:
        """A process is one user's; said at the worker of the later service."""
        texts = [service("a", 1, 'worker = "w"'), service("b", 2, "user = 0", 'worker = "w"')]
        assert files.problems(*texts) == [
            "netd.toml:9: services.b.worker: shares worker w with services.a, which has another"
            " user or group: give both the same, or each a worker"
        ]
        texts[0] += "user = 0\n"
        assert names(files.load(*texts)) == ["a", "b"]

    def test_can_be_named_after_a_service(self, files: Files) -> None:
        """The name of a service is the name of its worker, so they must agree, too."""
        (problem,) = files.problems(service("a", 1, "user = 0"), service("b", 2, 'worker = "a"'))
        assert problem.startswith("netd.toml:8: services.b.worker: shares worker a with services.a")

    def test_from_the_defaults_is_said_at_the_service(self, files: Files) -> None:
        """The key is not there, so its table is."""
        defaults = '[defaults]\nworker = "w"\n'
        (problem,) = files.problems(defaults, service("a", 1, "user = 0"), service("b", 2))
        assert problem.startswith("netd.toml:7: services.b.worker: shares worker w")


class TestAddresses:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("tcp:80", "tcp:80"),
            ("tcp:80", "tcp:80:interface=0.0.0.0"),
            ("tcp6:80:interface=[::1]", "tcp6:80:interface=[0:0::1]"),
            ("udp:80:interface=127.0.0.1", "udp:80:interface=127.0.0.1"),
            ("unix:/run/x", "unix:/run/../run/x:mode=600"),
            ("unix:/run/x", "unixgram:/run/x"),
            ("unix:@x", "unix:@x"),
        ],
    )
    def test_one_is_bound_once(self, files: Files, one: str, other: str) -> None:
        """By two services as by one, however it is written; said where it stands again."""
        first, second = (
            f'[services.{name}]\nhandler = "m:C"\nlisten = [\n  "tcp:1{number}",\n  "{text}",\n]\n'
            for number, (name, text) in enumerate([("a", one), ("b", other)])
        )
        (problem,) = files.problems(first, second)
        assert problem.startswith("netd.toml:11: services.b.listen: ")
        assert problem.endswith(" is listened on by services.a already: take another")
        (problem,) = files.problems(first.replace("tcp:10", other))
        assert problem.endswith(" is listened on by services.a already: take another")

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("tcp:80", "udp:80"), ("tcp:80", "tcp6:80"), ("tcp:0", "tcp:0"), ("udp:0", "udp:0"),
            ("tcp:80:interface=127.0.0.1", "tcp:80:interface=127.0.0.2"),
            ("unix:x", "unix:@x"), ("unix:@x", "unixgram:@x"),
        ],
    )  # fmt: skip
    def test_others_are_free(self, files: Files, one: str, other: str) -> None:
        """Port 0 is a port each, and abstract names of streams are none of datagrams."""
        text = f'listen = ["{one}", "{other}"]\nhandler = "m:C"\n'
        assert len(files.load("[services.a]\n", text).services[0].listen) == 2

    def test_from_the_defaults_are_said_at_the_service(self, files: Files) -> None:
        """What every service listens on, two cannot."""
        texts = [
            '[defaults]\nlisten = ["tcp:1"]\nhandler = "m:C"\n',
            "[services.a]\n[services.b]\n",
        ]
        assert files.problems(*texts) == [
            "netd.toml:5: services.b.listen: tcp:1 is listened on by services.a already:"
            " take another"
        ]


class TestPaths:
    def test_of_sockets_are_relative_to_their_file(self, files: Files) -> None:
        """The same path in two files is two sockets."""
        text = '\nlisten = ["unix:run/x"]\nhandler = "m:C"\n'
        files.write("more/a.toml", "[services.a]", text)
        found = files.load('include = ["more/a.toml"]\n', "[services.b]", text)
        assert [each.listen[0] for each in found.services] == [
            UnixAddress(Transport.UNIX, f"{files.directory}/run/x"),
            UnixAddress(Transport.UNIX, f"{files.directory}/more/run/x"),
        ]

    def test_of_sockets_in_the_defaults_are_relative_to_the_main_file(self, files: Files) -> None:
        """They stand there, whichever file's service has them."""
        files.write("more/a.toml", "[services.a]\n")
        found = files.load(
            'include = ["more/a.toml"]\n[defaults]\nlisten = ["unix:x"]\nhandler = "m:C"\n'
        )
        assert found.services[0].listen == (UnixAddress(Transport.UNIX, f"{files.directory}/x"),)

    def test_of_sockets_can_be_too_long(self, files: Files) -> None:
        """The length counts where the path has become absolute, at the line of the element."""
        (problem,) = files.problems(
            f'[services.a]\nhandler = "m:C"\nlisten = [\n "tcp:1",\n "unix:{"x" * 107}",\n]\n'
        )
        assert problem.startswith("netd.toml:5: services.a.listen: ")
        assert "the name of a Unix socket at most 107" in problem

    def test_of_sockets_in_the_defaults_that_are_too_long_are_said_once(self, files: Files) -> None:
        """Every service has the problem, and one line is to be put right."""
        defaults = f'[defaults]\nhandler = "m:C"\nlisten = ["unix:{"x" * 107}"]\n'
        (problem,) = files.problems(defaults, "[services.a]\n[services.b]\n")
        assert problem.startswith("netd.toml:3: defaults.listen: ")

    def test_of_python_are_absolute_and_in_order(self, files: Files) -> None:
        """Workers start elsewhere, and the first directory that has a module wins."""
        for name in ("b", "a"):
            (files.directory / "conf" / name).mkdir(parents=True)
        file = files.write("conf/netd.toml", 'python_path = ["b", "./a/../a", "/", "."]\n', TIME)
        conf = f"{files.directory}/conf"
        expected = (f"{conf}/b", f"{conf}/a", "/", conf)
        assert load(str(file)).python_path == expected
        assert load(os.path.relpath(file)).python_path == expected

    def test_of_python_must_be_directories(self, files: Files) -> None:
        """Each element has its line, and a file is no directory."""
        files.write("file")
        assert files.problems('python_path = [\n"none",\n"file",\n".",\n]\n', TIME) == [
            "netd.toml:2: python_path: there is no directory none: make it, or name another",
            "netd.toml:3: python_path: there is no directory file: make it, or name another",
        ]


class TestInclude:
    def test_takes_files_in_order(self, files: Files) -> None:
        """The main file first, pattern by pattern, and the files of a pattern by name."""
        for number, name in enumerate(["d/10.toml", "d/9.toml", "d/b.toml", "z.toml"]):
            files.write(name, service(f"s{number}", 100 + number))
        found = files.load('include = ["z.toml", "d/*.toml"]\n', TIME)
        assert names(found) == ["time", "s3", "s0", "s1", "s2"]

    def test_of_a_wildcard_may_match_nothing(self, files: Files) -> None:
        """A directory of services can be empty, or not be there."""
        assert names(files.load('include = ["d/*.toml", "x[0-9]", "y?"]\n', TIME)) == ["time"]

    def test_of_a_name_must_be_there(self, files: Files) -> None:
        """At the line of the name; the other patterns are read all the same."""
        files.write("a.toml", service("a", 1, "threads = 0"))
        assert files.problems('include = [\n"a.toml",\n"b.toml",\n]\n', TIME) == [
            "netd.toml:3: include: there is no file b.toml; only a wildcard may match none",
            "a.toml:4: services.a.threads: must be 1 or more, not 0",
        ]

    def test_leaves_hidden_files_and_other_names(self, files: Files) -> None:
        """What an editor or a package manager leaves behind is not taken."""
        for name in (".a.toml", "a.toml~", "a.toml.rpmsave"):
            files.write(f"d/{name}", "this is no TOML")
        assert names(files.load('include = ["d/*.toml"]\n', TIME)) == ["time"]

    def test_of_an_absolute_path(
        self, files: Files, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """It is taken as it is."""
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        (elsewhere / "a.toml").write_text(service("a", 1))
        assert names(files.load(f'include = ["{elsewhere}/*.toml"]\n')) == ["a"]

    def test_below_a_directory_with_the_signs_of_a_wildcard(self, files: Files) -> None:
        """Only what the pattern says is a pattern, not where its file stands."""
        files.write("[x]*/d/a.toml", service("a", 1))
        main = files.write("[x]*/netd.toml", 'include = ["d/*.toml"]\n', TIME)
        assert names(load(str(main))) == ["time", "a"]
        assert names(load(os.path.relpath(main))) == ["time", "a"]

    def test_is_relative_to_the_file(self, files: Files) -> None:
        """And messages name the included file by the same way."""
        files.write("conf/d/a.toml", service("a", 1, "x = 1"))
        main = files.write("conf/netd.toml", 'include = ["d/a.toml"]\n')
        relative = os.path.relpath(main)
        with pytest.raises(ConfigurationError) as caught:
            load(relative)
        assert str(caught.value).startswith(f"{os.path.dirname(relative)}/d/a.toml:4: services.a.x")

    def test_says_both_places_of_a_service(self, files: Files) -> None:
        """At the second, which names the first; between included files, too."""
        files.write("a.toml", "\n", service("time", 1))
        files.write("b.toml", service("b", 2), "\n", service("time", 3, "threads = 0"))
        assert files.problems('include = ["*.toml"]\n', TIME) == [
            "a.toml:2: services.time: is also in netd.toml:2: give one of them another name",
            "b.toml:5: services.time: is also in netd.toml:2: give one of them another name",
            "b.toml:8: services.time.threads: must be 1 or more, not 0",
        ]

    @pytest.mark.parametrize(
        "key", ["include = []", "python_path = []", "defaults = {}", "daemon = {}", "log = {}"]
    )
    def test_file_has_services_only(self, files: Files, key: str) -> None:
        """A key of the main file is known, but stands in the wrong one."""
        files.write("a.toml", f"\n{key}\n", service("a", 1))
        assert files.problems('include = ["a.toml"]\n') == [
            f"a.toml:2: {key.split()[0]}: goes into netd.toml: an included file has tables"
            " [services.NAME] only"
        ]

    def test_file_has_no_unknown_keys(self, files: Files) -> None:
        """Nor tables of a service that forgot to say so."""
        files.write("a.toml", '[time]\nlisten = ["tcp:1"]\n[service.a]\n')
        assert files.problems('include = ["a.toml"]\n', TIME) == [
            "a.toml:1: time: unknown key; known here are services",
            'a.toml:3: service: unknown key; did you mean "services"?',
        ]

    def test_file_may_be_empty(self, files: Files) -> None:
        """Nothing is wrong with a place for what is to come."""
        files.write("a.toml", "# to come\n")
        assert names(files.load('include = ["a.toml"]\n', TIME)) == ["time"]

    def test_files_that_cannot_be_read_do_not_hide_others(self, files: Files) -> None:
        """Each one's problem is said, and those of all that could be read."""
        files.write("d/1.toml", "a = \n")
        (files.directory / "d/2.toml").mkdir()
        (files.directory / "d/3.toml").symlink_to("nowhere")
        (files.directory / "d/4.toml").write_bytes(b"\n\xff")
        files.write("d/5.toml", service("a", 1, "x = 1"))
        found = files.problems('include = ["d/*"]\n', TIME, "y = 1\n")
        assert [line.partition(": ")[0] for line in found] == [
            "netd.toml:5", "d/1.toml:1", "d/2.toml:1", "d/3.toml:1", "d/4.toml:2", "d/5.toml:4",
        ]  # fmt: skip

    def test_of_a_file_twice_reads_it_once(self, files: Files) -> None:
        """Patterns overlap, and links lead to the same file; services and problems are not two."""
        files.write("d/a.toml", service("a", 1))
        bad = files.write("e/b.toml", "x = 1\n")
        (files.directory / "d/link.toml").symlink_to("a.toml")
        patterns = '"d/*.toml", "d/a.toml", "./d/../d/*"'
        assert names(files.load(f"include = [{patterns}]\n")) == ["a"]
        assert len(files.problems(f'include = [{patterns}, "e/b.toml", "e/*", "{bad}"]\n')) == 1

    def test_of_the_file_itself_is_nothing(self, files: Files) -> None:
        """A pattern for the files beside it matches it, too."""
        assert names(files.load('include = ["*.toml", "netd.toml"]\n', TIME)) == ["time"]


class TestDefaults:
    def test_hold_where_a_service_says_nothing(self, files: Files) -> None:
        """And a service, in whatever file, has the last word."""
        files.write("a.toml", service("b", 2))
        defaults = 'include = ["a.toml"]\n[defaults]\nthreads = 7\nbacklog = 8\n'
        found = files.load(defaults, service("a", 1, "threads = 9"))
        assert [(each.own, each.defaults) for each in found.services] == [
            (Requested(threads=9), Requested(backlog=8)),
            (Requested(), Requested(threads=7, backlog=8)),
        ]

    def test_may_be_all_that_a_service_has(self, files: Files) -> None:
        """An empty table is a service where the defaults say the rest."""
        defaults = '[defaults]\nlisten = ["tcp:1"]\nhandler = "m:C"\n'
        (found,) = files.load(defaults, "[services.a]\n").services
        assert (found.name, found.runs) == ("a", Runs("handler", Reference("m", "C")))

    def test_merge_tables(self, files: Files) -> None:
        """At every depth: what one table says beside the other stays."""
        (found,) = files.load(
            '[defaults.access]\nallow = ["::1"]\nverify_timeout = 9\n',
            "[defaults.options]\na = 1\nb = {c = 2, d = 3}\n",
            service("a", 1, "options.b.d = 4", "access.dry_run = true"),
        ).services
        assert found.options == {"a": 1, "b": {"c": 2, "d": 4}}
        assert found.access == Access(("::1",), verify_timeout=9.0, dry_run=True)

    def test_replace_lists(self, files: Files) -> None:
        """Who may come in is said in one place."""
        (found,) = files.load(
            '[defaults.access]\nallow = ["::1"]\n[defaults.options]\na = [1, 2]\n',
            service("a", 1, 'access.allow = ["::2"]', "options.a = [3]"),
        ).services
        assert found.access.allow == ("::2",)
        assert found.options == {"a": [3]}

    def test_replace_a_table_by_what_is_none(self, files: Files) -> None:
        """In options anything goes, and the service's is what counts."""
        options = service("a", 1, "options = {a = 1, b = {c = 2}}")
        (found,) = files.load("[defaults.options]\na = {c = 2}\nb = 1\n", options).services
        assert found.options == {"a": 1, "b": {"c": 2}}

    def test_are_copied(self, files: Files) -> None:
        """One service's handlers cannot change the list of another's, in the worker they share."""
        text = '[defaults]\nworker = "w"\noptions = {seen = []}\n'
        found = files.load(text, service("a", 1), service("b", 2)).services
        one, other = (each.options for each in pickle.loads(pickle.dumps(found)))
        one["seen"].append(1)
        assert other["seen"] == []

    def test_are_checked_by_themselves(self, files: Files) -> None:
        """Each problem once and at its own line, however many services have it."""
        defaults = "[defaults]\nthreads = 0\naccess = {alow = []}\noptions = 5\n"
        assert files.problems(defaults, service("a", 1), service("b", 2, "threads = 1")) == [
            "netd.toml:2: defaults.threads: must be 1 or more, not 0",
            'netd.toml:3: defaults.access.alow: unknown key; did you mean "allow"?',
            "netd.toml:4: defaults.options: must be a table, not 5",
        ]

    def test_are_checked_where_no_service_has_them(self, files: Files) -> None:
        """Every service says it otherwise, and still the line is wrong."""
        found = files.problems("[defaults]\nthreads = 0\n", service("a", 1, "threads = 1"))
        assert found == ["netd.toml:2: defaults.threads: must be 1 or more, not 0"]

    def test_with_a_problem_do_not_hide_those_of_services(self, files: Files) -> None:
        """In the same key, too, where the service has a problem of its own."""
        found = files.problems(
            "[defaults]\naccess = {dry_run = 1}\nthreads = 0\n",
            service("a", 1, "threads = -1", "access.deny = 2", "x = 3"),
        )
        assert [line.partition(": must")[0] for line in found[:4]] == [
            "netd.toml:2: defaults.access.dry_run",
            "netd.toml:3: defaults.threads",
            "netd.toml:7: services.a.threads",
            "netd.toml:8: services.a.access.deny",
        ]
        assert found[4].startswith("netd.toml:9: services.a.x: unknown key")

    def test_are_no_table_of_missing_keys(self, files: Files) -> None:
        """What a service must have, the defaults need not."""
        assert names(files.load("[defaults]\n", TIME)) == ["time"]


class TestWithoutServices:
    MESSAGE = "netd.toml:1: services: there is no service: add a table [services.NAME]"

    @pytest.mark.parametrize(
        "text", ["", "\n\n# nothing\n", "\n[daemon]\n", "\n[services]\n", "\nservices = {}\n"]
    )
    def test_is_a_problem_of_line_1(self, files: Files, text: str) -> None:
        """Wherever an empty table stands, as the contract has it."""
        assert files.problems(text) == [self.MESSAGE]

    def test_with_includes_that_have_none(self, files: Files) -> None:
        """A wildcard that matches nothing is fine, a daemon that serves nothing is not."""
        files.write("d/a.toml", "")
        assert files.problems('include = ["d/*", "e/*"]\n') == [self.MESSAGE]

    def test_beside_another_problem(self, files: Files) -> None:
        """It is not left for the next try."""
        assert files.problems("x = 1\n")[0].startswith("netd.toml:1: services: ")
        assert len(files.problems("\nx = 1\n")) == 2

    @pytest.mark.parametrize(
        "text",
        ["services = 5", "services = []", "services = ''", "[services]\na = 1", "include = 5",
         'include = ["none"]', 'include = ["bad.toml"]'],
    )  # fmt: skip
    def test_is_not_said_where_they_may_be(self, files: Files, text: str) -> None:
        """One mistake is one problem: who has a broken include has services in it."""
        files.write("bad.toml", "= 1\n")
        (problem,) = files.problems(text)
        assert "there is no service" not in problem


class TestProblems:
    def test_are_all_said_in_order(self, files: Files) -> None:
        """By file, as they are included, then by line: not one for each try."""
        files.write("b.toml", service("b", 1, "backlog = 0"))
        files.write("a.toml", service("a", 2, "backlog = -1", "threads = 0"))
        found = files.problems(
            'include = ["b.toml", "a.toml"]\nx = 1\n',
            '[services.c]\nhander = "m:C"\nlisten = [\n "tcp:1",\n "tpc:2",\n "tcp:x",\n]\n',
            '[daemon]\ngraceful_timeout = "soon"\n',
        )
        assert [line.partition(": ")[0] for line in found] == [
            "netd.toml:2", "netd.toml:3", "netd.toml:4", "netd.toml:7", "netd.toml:8",
            "netd.toml:11", "b.toml:4", "a.toml:4", "a.toml:5",
        ]  # fmt: skip

    def test_of_the_main_file_do_not_hide_its_includes(self, files: Files) -> None:
        """Each top-level key stands for itself."""
        files.write("a.toml", service("a", 2, "backlog = 0"))
        text = 'include = ["a.toml"]\npython_path = ["none"]\ndaemon = 5\ndefaults = 6\n'
        assert files.problems(text) == [
            "netd.toml:2: python_path: there is no directory none: make it, or name another",
            "netd.toml:3: daemon: must be a table, not 5",
            "netd.toml:4: defaults: must be a table, not 6",
            "a.toml:4: services.a.backlog: must be 1 or more, not 0",
        ]

    def test_of_a_missing_key_stand_at_the_table(self, files: Files) -> None:
        """At its header, or where the table is first spoken of."""
        assert files.problems(
            "\n[services.a]\nlisten = ['tcp:1']\n[services]\nb.threads = 1\n"
        ) == [
            f"netd.toml:2: services.a.handler: {NOTHING_RUNS}",
            f"netd.toml:5: services.b.handler: {NOTHING_RUNS}",
            'netd.toml:5: services.b.listen: is required: where it listens, like ["tcp:10037"]',
        ]

    def test_of_a_file_that_is_not_there(self, files: Files) -> None:
        """The main file is refused like any other."""
        with pytest.raises(ConfigurationError, match=r"none.toml:1: cannot read: No such file"):
            load(str(files.directory / "none.toml"))


class TestLog:
    def test_has_the_defaults_of_the_contract(self, files: Files) -> None:
        """Text from info on, with the connections, where twistd logs."""
        assert files.load(TIME).log == Log("text", "info", True, None)

    def test_has_what_is_written(self, files: Files) -> None:
        """Every key arrives."""
        found = files.load(
            '[log]\nformat = "json"\nlevel = "warn"\nconnections = false\nfile = "/v/x.log"\n', TIME
        )
        assert found.log == Log("json", "warn", False, "/v/x.log")

    def test_file_is_relative_to_the_configuration(self, files: Files) -> None:
        """Wherever twistd is started, and whatever ``--rundir`` says."""
        file = files.write("conf/netd.toml", '[log]\nfile = "../log/./netd.log"\n', TIME)
        for name in (str(file), os.path.relpath(file)):
            assert load(name).log.file == f"{files.directory}/log/netd.log"

    def test_file_need_not_be_there(self, files: Files) -> None:
        """A configuration is read without opening its log, which another user may own."""
        files.load('[log]\nfile = "none/netd.log"\n', TIME)
        assert not (files.directory / "none").exists()


class TestConfiguration:
    def test_keeps_the_graceful_timeout(self, files: Files) -> None:
        """As seconds, and 30 where nothing is said."""
        assert files.load(TIME).graceful_timeout == 30.0
        assert files.load('[daemon]\ngraceful_timeout = "2m"\n', TIME).graceful_timeout == 120.0
        assert files.load("[daemon]\ngraceful_timeout = 0\n", TIME).graceful_timeout == 0.0

    def test_keeps_the_name_of_the_file(self, files: Files) -> None:
        """As it was given, for messages."""
        main = os.path.relpath(files.write("netd.toml", TIME))
        assert load(main).file == main

    def test_knows_the_place_of_every_key(self, files: Files) -> None:
        """Where a problem is that only shows when a key is used: its own line, or the defaults'."""
        included = files.write("a.toml", service("b", 2, "[services.b.access]", "deny = []"))
        found = files.load(
            'include = ["a.toml"]\n',
            '[defaults]\nhandler = "m:C"\nthreads = 5\naccess.verify_request = "m:f"\n',
            '[services.a]\nlisten = [\n"tcp:1"\n]\nthreads = 6\n',
        )
        lines = {key: line for key, (file, line) in found.locations.items() if file == found.file}
        assert lines == {
            "": 1,
            "services.a": 6,
            "services.a.listen": 7,
            "services.a.threads": 10,
            "services.a.handler": 3,
            "services.a.access": 5,
            "services.a.access.verify_request": 5,
            "services.b.threads": 4,
            "services.b.access.verify_request": 5,
        }
        assert found.locations["services.b.access"] == (str(included), 4)
        assert found.locations["services.b.handler"] == (str(included), 3)

    def test_knows_the_place_of_a_key_of_its_own(self, files: Files) -> None:
        """Of the main file's tables, too."""
        found = files.load('[daemon]\ngraceful_timeout = "2m"\n', TIME)
        assert found.locations["daemon"] == (found.file, 1)
        assert found.locations["daemon.graceful_timeout"] == (found.file, 2)

    def test_is_equal_when_read_again(self, files: Files) -> None:
        """A reload compares values."""
        assert files.load(TIME) == files.load(TIME)

    def test_services_travel_to_workers(self, files: Files) -> None:
        """Dates and nested tables in options come through the channel as they are."""
        text = "options = {a = 2026-01-01T00:00:00Z, b = [{c = 12:00:00}]}\n"
        (found,) = files.load(TIME, text).services
        assert pickle.loads(pickle.dumps(found)) == found

    @pytest.mark.parametrize(
        ("value", "attribute"),
        [
            (lambda found: found, "services"),
            (lambda found: found.services[0], "threads"),
            (lambda found: found.services[0].access, "allow"),
            (lambda found: found.services[0].owner, "uid"),
            (lambda found: found.services[0].runs, "key"),
            (lambda found: found.services[0].runs.reference, "name"),
            (lambda found: found.services[0].own, "threads"),
            (lambda found: found.services[0].listen[0], "port"),
        ],
    )
    def test_is_frozen(
        self, files: Files, value: Callable[[Configuration], Any], attribute: str
    ) -> None:
        """The daemon, the plan and a worker look at one value, which nobody changes."""
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value(files.load(TIME)), attribute, None)

    def test_has_no_lists(self, files: Files) -> None:
        """What is frozen holds nothing that is not."""
        found = files.load('python_path = ["."]\n', TIME, 'access = {allow = ["::1"], deny = []}\n')
        (only,) = found.services
        for value in (found.services, found.python_path, only.listen, only.access.deny):
            assert type(value) is tuple
        with pytest.raises(TypeError):
            found.locations["a"] = ("b", 1)  # type: ignore[index]


class TestLoaded:
    def test_keeps_what_is_written(self, files: Files) -> None:
        """As one file would have it, with the defaults, and with what is not enabled."""
        part = files.write("a.toml", service("b", 2, "enabled = false", "threads = 6"))
        main = files.write(
            "netd.toml",
            'include = ["a.toml"]\n',
            '[defaults]\nthreads = 5\naccess.deny = ["::1"]\n',
            '[daemon]\ngraceful_timeout = "2m"\n',
            service("a", 1, 'access.allow = ["unix"]'),
        )
        found = loaded(str(main))
        assert found.configuration == load(str(main))
        assert found.files == (str(main), str(part))
        assert found.tables == {
            "daemon": {"graceful_timeout": "2m"},
            "services": {
                "a": {
                    "listen": ["tcp:1"],
                    "handler": "m:C",
                    "threads": 5,
                    "access": {"deny": ["::1"], "allow": ["unix"]},
                },
                "b": {
                    "listen": ["tcp:2"],
                    "handler": "m:C",
                    "enabled": False,
                    "threads": 6,
                    "access": {"deny": ["::1"]},
                },
            },
        }
