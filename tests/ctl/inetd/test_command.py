"""``netd.ctl.inetd.command``: files as one configuration, and its services among each other."""

from __future__ import annotations

import pytest

from netd.config.reading import check_name
from netd.ctl.inetd.command import imported
from netd.model.problem import ConfigurationError
from tests.ctl.inetd.machines import FakeMachine, Result, StrictMachine, import_files, import_text

CAT = "stream tcp nowait root /bin/cat cat\n"


def xinetd(name: str, *lines: str) -> str:
    """An entry of xinetd."""
    fixed = ["socket_type = stream", "wait = no", "user = root", "server = /bin/cat"]
    return "\n".join([f"service {name}", "{", *fixed, *lines, "}", ""])


def on_and_off(result: Result) -> dict[str, bool]:
    return {name: table.get("enabled", True) for name, table in result.services.items()}


class TestFiles:
    def test_a_file_shows_what_it_is(self) -> None:
        """By its first line that says something, whatever it is called."""
        machine = FakeMachine(
            {
                "inetd.conf": f"# service x\n\ntelnet {CAT}",
                "finger": "# default: off\n" + xinetd("finger"),
                "with-defaults": "defaults\n{\n}\n" + xinetd("ftp"),
                "empty": "# nothing\n",
            }
        )
        result = import_files(machine)
        assert result.problems == []
        assert sorted(result.services) == ["finger", "ftp", "telnet"]

    def test_a_directory_is_read_as_xinetd_reads_it(self) -> None:
        """What it passes over is listed."""
        files = {"/d/b": xinetd("ftp"), "/d/a": xinetd("finger"), "/d/c.old": xinetd("telnet")}
        result = import_files(FakeMachine({**files}), "/d")
        assert list(result.services) == ["finger", "ftp"]
        assert "/d/c.old is left out" in result.comments

    def test_a_file_that_is_named_and_included_is_read_once(self) -> None:
        """As in "xinetd.conf xinetd.d", with or without an includedir that finds the second."""
        files = {"/x.conf": "includedir /d\n", "/d/a": xinetd("finger")}
        result = import_files(FakeMachine({**files}), "/x.conf", "/d", "/d/a")
        assert list(result.services) == ["finger"]
        assert result.problems == []

    def test_a_file_that_is_not_there_ends_it(self) -> None:
        """Before anything is printed; all such files are named."""
        with pytest.raises(ConfigurationError) as caught:
            imported(["a", "b", "conf"], FakeMachine({"conf": f"telnet {CAT}"}))
        assert str(caught.value) == (
            "a:1: cannot read: No such file or directory\n"
            "b:1: cannot read: No such file or directory"
        )

    def test_problems_come_in_the_order_of_their_places(self) -> None:
        """Each once, and as a comment too."""
        text = "service a\n{\nbad\n}\nservice b\n{\nnice = x\nflags = X\n}\n"
        result = import_files(FakeMachine({"2": text, "1": "bad\n"}))
        places = [problem.split(": ")[0] for problem in result.problems]
        assert places == ["1:1", "2:3", "2:8"]
        for problem in result.problems:
            assert f"Not read: {problem}" in result.comments

    def test_nothing_is_a_file_of_comments(self) -> None:
        """There was nothing to carry over."""
        result = import_text("# nothing\n")
        assert (result.services, result.problems) == ({}, [])


class TestNames:
    @pytest.mark.parametrize(
        ("identity", "name"),
        [
            ("in.ftpd", "in.ftpd"),
            ("a/b", "a-b"),
            ("_x", "x"),
            ("ü", "service"),
            ("x" * 200, "x" * 90),
        ],
    )
    def test_are_such_as_netd_takes(self, identity: str, name: str) -> None:
        """Letters, digits and a few signs."""
        result = import_text(xinetd("telnet", f"id = {identity}"))
        assert list(result.services) == [name]
        assert check_name(name) == name

    def test_are_different(self) -> None:
        """By the transport first, which is why there are mostly two of a name."""
        result = import_text(
            "echo stream tcp nowait root internal\necho dgram udp wait root internal\n"
            "echo dgram udp4 wait root internal\n7 stream tcp nowait root /bin/cat cat\n"
        )
        assert list(result.services) == ["echo", "echo-udp", "echo-2", "7"]


class TestAddresses:
    def test_the_first_of_two_services_has_it(self) -> None:
        """The other is off, and says whose it is."""
        result = import_text(f"telnet {CAT}23 {CAT}")
        assert on_and_off(result) == {"telnet": True, "23": False}
        assert "Off: tcp:23 is taken by telnet (conf:1), which comes first" in result.comments

    def test_a_service_that_is_off_has_none(self) -> None:
        """So that one of several can be switched on."""
        result = import_text(
            xinetd("telnet", "disable = yes", "id = a") + xinetd("telnet", "id = b")
        )
        assert on_and_off(result) == {"a": False, "b": True}

    def test_different_addresses_are_different(self) -> None:
        """One port, two interfaces."""
        result = import_text(f"10.0.0.1:telnet {CAT}10.0.0.2:telnet {CAT}")
        assert on_and_off(result) == {"telnet": True, "telnet-tcp": True}


class TestBothDaemons:
    @pytest.mark.parametrize("line", ["disable = yes", "disable = no"])
    def test_xinetd_hides_what_inetd_conf_has(self, line: str) -> None:
        """Debian's xinetd reads both, and a service that is off there must not come back."""
        files = {"inetd.conf": f"telnet {CAT}", "telnet": xinetd("telnet", line)}
        result = import_files(FakeMachine({**files}))
        assert on_and_off(result) == {"telnet": line == "disable = no", "telnet-tcp": False}
        assert "telnet is in xinetd's files too, and that counts" in result.comments


class TestRefused:
    """What the netd of this machine would refuse."""

    def test_is_a_comment(self) -> None:
        """The check of a service that is off would refuse it, too."""
        machine = FakeMachine(refused={"telnet": ['user: there is no user "x"']})
        result = import_text(xinetd("telnet", "only_from = ::1", "id = telnet"), machine)
        assert result.services == {}
        assert (
            '# A comment, because netd would refuse it here: user: there is no user "x".\n'
            "# [services.telnet]\n"
            '# listen = ["tcp:23", "tcp6:23"]\n'
            '# program = ["/bin/cat"]\n'
            '# user = "root"\n'
            "#\n"
            "# [services.telnet.access]\n"
            '# allow = ["::1"]\n'
        ) in result.text

    def test_has_no_address(self) -> None:
        """Another service may have it."""
        machine = StrictMachine()
        result = import_text(f"telnet stream tcp nowait none-such /bin/cat cat\n23 {CAT}", machine)
        assert on_and_off(result) == {"23": True}

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (
                "telnet stream tcp nowait none-such /bin/cat cat",
                'user: there is no user "none-such"',
            ),
            ("telnet stream tcp nowait root:none-such /bin/cat cat", "group: there is no group"),
            ("telnet stream tcp nowait 4000000000 /bin/cat cat", "has no entry in the passwd file"),
            ("telnet stream tcp nowait root /bin/none-such", "program: there is no program"),
            (f"/run/{'x' * 200} stream unix nowait root /bin/cat cat", "is 205 bytes long"),
            ("telnet stream tcp,rcvbuf=9999m nowait root /bin/cat cat", "socket.SO_RCVBUF: "),
        ],
    )
    def test_says_why(self, line: str, said: str) -> None:
        """By the check itself, so that every reason that it has is known here."""
        result = import_text(line, StrictMachine())
        assert (result.services, result.problems) == ({}, [])
        assert "A comment, because netd would refuse it here: " in result.comments
        assert said in result.comments

    def test_two_texts_for_one_address_leave_the_second_off(self) -> None:
        """An IPv6 socket for both families, and one of IPv4; a path for streams and datagrams."""
        result = import_text(
            "telnet stream tcp46 nowait root /bin/cat\ntelnet stream tcp4 nowait root /bin/cat\n"
            "/run/a stream unix nowait root /bin/cat\n/run/a dgram unix wait root /bin/cat\n",
            StrictMachine(),
        )
        assert on_and_off(result) == {"telnet": True, "telnet-tcp": False, "a": True,
                                      "a-unixgram": False}  # fmt: skip
        assert "Off: listen: tcp:23 is listened on by services.telnet already" in result.comments
