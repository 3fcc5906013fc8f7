"""``netd.ctl.inetd.inetd``: lines of inetd.conf, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ctl.inetd.machines import FakeMachine, import_text


def only(text: str, machine: FakeMachine | None = None) -> dict[str, Any]:
    """The one service of a file in which nothing is wrong."""
    result = import_text(text, machine)
    assert result.problems == []
    (table,) = result.services.values()
    assert isinstance(table, dict)
    return table


class TestPrograms:
    def test_a_server_of_one_connection(self) -> None:
        """The commonest line: a program for each client, as its own user."""
        table = only("finger stream tcp nowait nobody /usr/sbin/in.fingerd in.fingerd -w\n")
        assert table == {
            "listen": ["tcp:79", "tcp6:79"],
            "program": ["/usr/sbin/in.fingerd", "-w"],
            "user": "nobody",
        }

    def test_a_server_that_waits_gets_the_socket(self) -> None:
        """For datagrams there is no other way."""
        table = only("ntalk dgram udp wait nobody.tty /usr/sbin/in.ntalkd in.ntalkd")
        assert table == {
            "listen": ["udp:518", "udp6:518"],
            "program": ["/usr/sbin/in.ntalkd"],
            "wait": True,
            "user": "nobody",
            "group": "tty",
        }

    def test_tcpd_keeps_its_name_and_so_its_rules(self) -> None:
        """It knows by its name what to run, and asks hosts_access(5) before it does."""
        table = only("finger stream tcp nowait nobody /usr/sbin/tcpd /usr/sbin/in.fingerd -w")
        assert table["program"][3:] == ["/usr/sbin/in.fingerd", "/usr/sbin/tcpd", "-w"]
        assert "enabled" not in table

    def test_without_arguments_it_has_the_last_part_of_its_path(self) -> None:
        """Not even its own name has to be there."""
        assert only("ftp stream tcp nowait root /usr/sbin/ftpd")["program"] == ["/usr/sbin/ftpd"]

    def test_a_datagram_server_that_does_not_wait_is_left_out(self) -> None:
        """It would have to be told of each datagram."""
        result = import_text("tftp dgram udp nowait root /usr/sbin/tftpd tftpd")
        assert result.services == {}
        assert "Left out: tftp: dgram with nowait means" in result.comments

    def test_quotes_are_said(self) -> None:
        """The daemons do not agree on them."""
        result = import_text('ftp stream tcp nowait root /bin/ftpd ftpd "a b"')
        assert result.services["ftp"]["program"] == ["/bin/ftpd", '"a', 'b"']
        assert "Quotes and backslashes stand as they are" in result.comments


class TestInternal:
    @pytest.mark.parametrize("user", ["root", "nobody.nogroup"])
    def test_is_a_handler_of_netd(self, user: str) -> None:
        """For streams and datagrams, waiting or not; inetd does not ask for the user."""
        result = import_text(
            f"daytime stream tcp nowait {user} internal\ntime dgram udp wait {user} internal\n"
        )
        assert result.services == {
            "daytime": {"listen": ["tcp:13", "tcp6:13"], "handler": "daytime"},
            "time": {"listen": ["udp:37", "udp6:37"], "handler": "time"},
        }

    @pytest.mark.parametrize(
        "line",
        ["finger stream tcp nowait root internal", "/run/x stream unix nowait root internal"],
    )
    def test_one_that_inetd_does_not_have_is_left_out(self, line: str) -> None:
        """As inetd leaves it out."""
        result = import_text(line)
        assert result.services == {}
        assert "inetd has no internal service" in result.comments

    @pytest.mark.parametrize("name", ["tcpmux", "tcpmux/mine", "tcpmux/+mine"])
    def test_tcpmux_is_left_out(self, name: str) -> None:
        """Its services have no port of their own."""
        result = import_text(f"{name} stream tcp nowait root internal")
        assert result.services == {}
        assert "it belongs to TCPMUX (RFC 1078)" in result.comments

    def test_rpc_is_left_out_by_its_name(self) -> None:
        """Its versions do not belong to that."""
        result = import_text("rstatd/1-3 dgram rpc/udp wait root /sbin/rpc.rstatd rpc.rstatd")
        assert result.services == {}
        assert "Left out: rstatd: it is an RPC service" in result.comments


class TestListening:
    @pytest.mark.parametrize(
        ("protocol", "listen"),
        [
            ("tcp", ["tcp:23", "tcp6:23"]),
            ("tcp4", ["tcp:23"]),
            ("tcp6", ["tcp6:23"]),
            ("tcp6only", ["tcp6:23"]),
            ("tcp46", ["tcp6:23"]),
        ],
    )
    def test_the_protocol_has_the_family(self, protocol: str, listen: list[str]) -> None:
        """Without one, it is both."""
        table = only(f"telnet stream {protocol} nowait root /bin/telnetd telnetd")
        assert table["listen"] == listen

    def test_an_ipv6_socket_that_takes_ipv4_does_so_here(self) -> None:
        """The protocol tcp46 is for servers that want mapped addresses."""
        table = only("telnet stream tcp46 nowait root /bin/telnetd telnetd")
        assert table["socket"] == {"IPV6_V6ONLY": False}

    @pytest.mark.parametrize("protocol", ["tcp", "tcp4"])
    def test_what_gnu_inetd_does_with_plain_tcp_is_said(self, protocol: str) -> None:
        """Somebody who comes from it would be open by IPv6, too."""
        result = import_text(f"telnet stream {protocol} nowait root /bin/telnetd telnetd")
        assert ("If you come from GNU inetd" in result.comments) is (protocol == "tcp")

    @pytest.mark.parametrize(
        ("name", "listen"),
        [
            ("8080", ["tcp:8080", "tcp6:8080"]),
            ("127.0.0.1:telnet", ["tcp:23:interface=127.0.0.1"]),
            ("[::1]:telnet", ["tcp6:23:interface=[::1]"]),
            ("127.0.0.1,::1:telnet", ["tcp:23:interface=127.0.0.1", "tcp6:23:interface=[::1]"]),
            ("*:telnet", ["tcp:23", "tcp6:23"]),
            ("gate.example:telnet", ["tcp:23:interface=gate.example"]),
            ("127.0.0.1: telnet", ["tcp:23:interface=127.0.0.1"]),
        ],
    )
    def test_the_name_may_have_addresses_before_it(self, name: str, listen: list[str]) -> None:
        """And may be a number."""
        assert only(f"{name} stream tcp nowait root /bin/telnetd telnetd")["listen"] == listen

    def test_addresses_on_a_line_of_their_own_are_for_those_that_follow(self) -> None:
        """Until the next such line, and for lines without addresses of their own."""
        line = "stream tcp4 nowait root /bin/true true\n"
        result = import_text(f"1 {line}10.0.0.1:\n2 {line}10.0.0.2:3 {line}*:\n4 {line}")
        assert [table["listen"] for table in result.services.values()] == [
            ["tcp:1"],
            ["tcp:2:interface=10.0.0.1"],
            ["tcp:3:interface=10.0.0.2"],
            ["tcp:4"],
        ]

    def test_a_host_name_is_looked_up_in_one_family_and_that_is_said(self) -> None:
        """A name that has no address of a family would be a problem to netd."""
        result = import_text("gate.example:telnet stream tcp nowait root /bin/telnetd telnetd")
        assert "add tcp6:23:interface=gate.example" in result.comments

    def test_a_unix_socket_is_open_to_everybody_as_inetd_makes_it(self) -> None:
        """Its name is the last part of its path."""
        line = (
            "/run/my.sock stream unix nowait root /bin/cat cat\n/run/d dgram unix wait root /bin/d"
        )
        result = import_text(line)
        assert {name: table["listen"] for name, table in result.services.items()} == {
            "my.sock": ["unix:/run/my.sock:mode=666"],
            "d": ["unixgram:/run/d:mode=666"],
        }

    def test_a_port_that_is_not_known_leaves_the_service_off(self) -> None:
        """With a place to write it in."""
        result = import_text("mine stream tcp4 nowait root /bin/cat cat")
        table = result.services["mine"]
        assert (table["enabled"], table["listen"]) == (False, ["tcp:0"])
        assert "the port of mine is not known here" in result.comments

    @pytest.mark.parametrize("kind", ["raw", "rdm", "seqpacket"])
    def test_other_sockets_are_left_out(self, kind: str) -> None:
        """Nobody has them, but the manual has."""
        result = import_text(f"telnet {kind} tcp nowait root /bin/cat cat")
        assert result.services == {}
        assert f"its socket type is {kind}" in result.comments

    def test_buffer_sizes_are_socket_options(self) -> None:
        """In bytes, KiB or MiB."""
        table = only("telnet stream tcp,rcvbuf=64k,sndbuf=1m nowait root /bin/cat cat")
        assert table["socket"] == {"SO_RCVBUF": 64 << 10, "SO_SNDBUF": 1 << 20}


class TestAccounts:
    @pytest.mark.parametrize(
        ("field", "keys"),
        [
            ("root", {"user": "root"}),
            ("nobody.tty", {"user": "nobody", "group": "tty"}),
            ("nobody:tty", {"user": "nobody", "group": "tty"}),
            ("a.b:tty", {"user": "a.b", "group": "tty"}),
            ("1000:100", {"user": 1000, "group": 100}),
        ],
    )
    def test_user_and_group(self, field: str, keys: dict[str, Any]) -> None:
        """A colon parts them, and without one a dot."""
        table = only(f"telnet stream tcp nowait {field} /bin/cat cat")
        assert {key: table[key] for key in ("user", "group") if key in table} == keys

    @pytest.mark.parametrize(("user", "said"), [("nobody", True), ("root", False)])
    def test_supplementary_groups_are_said(self, user: str, said: bool) -> None:
        """inetd gives them to all but root."""
        result = import_text(f"telnet stream tcp nowait {user} /bin/cat cat")
        assert ("supplementary groups" in result.comments) is said


class TestRate:
    def test_the_most_a_minute_is_a_rate(self) -> None:
        """And what it did above is said."""
        result = import_text("telnet stream tcp nowait.400 root /bin/cat cat")
        assert result.services["telnet"]["limits"] == {"connection_rate": "400/m"}
        assert "shuts the service for ten minutes" in result.comments

    def test_a_rate_that_netd_does_not_have_is_a_comment(self) -> None:
        """Without it, the service is open to the same clients."""
        machine = FakeMachine(lacking=frozenset({"limits.connection_rate"}))
        result = import_text("telnet stream tcp nowait.400 root /bin/cat cat", machine)
        assert result.services["telnet"].keys() == {"listen", "program", "user"}
        assert 'Left out: limits.connection_rate = "400/m" would stand here' in result.comments
        assert "over the minute" not in result.comments

    def test_a_server_that_waits_has_none(self) -> None:
        """netd does not see its clients."""
        result = import_text("tftp dgram udp wait.60 root /bin/tftpd tftpd")
        assert "limits" not in result.services["tftp"]
        assert "Left out: at most 60 a minute." in result.comments


class TestLines:
    def test_a_line_that_starts_with_a_blank_goes_on(self) -> None:
        """Comments and blank lines between do not end an entry."""
        text = "telnet stream tcp\n\tnowait root\n# comment\n\n  # another\n  /bin/cat cat -u\n"
        assert only(text)["program"] == ["/bin/cat", "-u"]

    def test_comments_are_no_services(self) -> None:
        """Those that update-inetd(8) switched off, either."""
        result = import_text("#<off># telnet stream tcp nowait root /bin/a a\n## ftp stream\n")
        assert (result.services, result.problems) == ({}, [])

    def test_an_entry_that_starts_with_a_blank_is_two_things(self) -> None:
        """openbsd-inetd and GNU inetd differ, so somebody has to say which it is."""
        line = "stream tcp nowait root /bin/cat cat\n"
        result = import_text(f"telnet {line} ftp {line}")
        assert result.problems == [
            "conf:2: starts with a blank, and so goes on with line 1 (openbsd-inetd) or is an"
            " entry (GNU inetd): take the blank away"
        ]
        assert list(result.services) == ["telnet"]
        assert result.services["telnet"]["program"] == ["/bin/cat"]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("telnet stream tcp nowait root", "telnet: an entry has 6 fields or more, and this"),
            ("telnet", "telnet: an entry has 6 fields or more, and this has 1"),
            ("a: telnet stream tcp nowait root", "an entry has 6 fields or more"),
            ("telnet steam tcp nowait root /a a", "telnet: steam is no socket type"),
            ("telnet stream tpc nowait root /a a", "telnet: tpc is no protocol that inetd knows"),
            ("telnet stream udp nowait root /a a", "telnet: a udp service is no stream"),
            ("telnet stream tcp no root /a a", "telnet: no is neither wait nor nowait"),
            ("telnet stream tcp nowait/9 root /a a", "nowait/9 is neither wait nor nowait"),
            ("telnet stream tcp nowait.0 root /a a", "0 is no number of calls a minute"),
            ("telnet stream tcp nowait. root /a a", " is no number of calls a minute"),
            ("telnet stream tcp,buf=1 nowait root /a a", "buf=1 is not known here: write rcvbuf"),
            ("telnet stream tcp,rcvbuf=x nowait root /a a", "x is no size"),
            ("::1:telnet stream tcp4 nowait root /a a", "telnet: ::1 is no address of tcp4"),
            ("70000 stream tcp nowait root /a a", "70000 is no port, which is from 1 to 65535"),
            ("telnet stream tcp nowait 9999999999 /a a", "9999999999 is no user or group"),
        ],
    )
    def test_a_line_that_inetd_would_not_read_is_a_problem(self, line: str, said: str) -> None:
        """With its place; the others are printed."""
        result = import_text(f"# head\n{line}\nftp stream tcp nowait root /bin/ftpd ftpd\n")
        (problem,) = result.problems
        assert problem.startswith("conf:2: ")
        assert said in problem
        assert list(result.services) == ["ftp"]

    def test_a_line_that_is_not_utf8_is_a_problem(self) -> None:
        """TOML could not hold it. In a comment it does not matter."""
        result = import_text(b"# K\xf6ln\nftp stream tcp nowait root /bin/ftpd -\xf6\n")
        assert result.problems == [
            "conf:2: this line is not text: save the file as UTF-8, without NUL characters"
        ]
        assert result.services == {}
