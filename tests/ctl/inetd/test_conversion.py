"""``netd.ctl.inetd.conversion``: where a service of xinetd listens, and what it runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ctl.inetd.machines import FakeMachine, Result, import_text

PROGRAM = {
    "socket_type": "stream",
    "wait": "no",
    "user": "root",
    "server": "/usr/sbin/in.telnetd",
}
"""All that a service needs."""

INTERNAL = {"type": "INTERNAL", "socket_type": "stream", "wait": "no"}


def service(name: str, *tables: dict[str, str], **attributes: str) -> Result:
    """Import one service. A later value replaces an earlier one, and an empty one its line."""
    machine = FakeMachine()
    merged: dict[str, str] = {}
    for table in (*tables, attributes):
        merged |= table
    lines = [f"{key} = {value}" for key, value in merged.items() if value]
    return import_text("\n".join([f"service {name}", "{", *lines, "}"]), machine)


def only(result: Result) -> dict[str, Any]:
    """The one service of an import without problems."""
    assert result.problems == []
    (table,) = result.services.values()
    assert isinstance(table, dict)
    return table


class TestPrograms:
    def test_a_service_of_one_connection(self) -> None:
        """The commonest entry."""
        assert only(service("telnet", PROGRAM, server_args="-h  -D")) == {
            "listen": ["tcp:23", "tcp6:23"],
            "program": ["/usr/sbin/in.telnetd", "-h", "-D"],
            "user": "root",
        }

    def test_its_name_can_be_the_first_argument(self) -> None:
        """So that tcpd can stand before it."""
        result = service(
            "telnet", PROGRAM, server="/usr/sbin/tcpd", server_args="in.telnetd -h",
            flags="NAMEINARGS",
        )  # fmt: skip
        assert only(result)["program"][3:] == ["in.telnetd", "/usr/sbin/tcpd", "-h"]
        assert "its own name is to be in.telnetd" in result.comments

    def test_a_server_that_waits_gets_the_socket(self) -> None:
        """One for each socket, where xinetd has one socket for both families."""
        result = service("tftp", PROGRAM, socket_type="dgram", wait="yes")
        table = only(result)
        assert (table["listen"], table["wait"]) == (["udp:69", "udp6:69"], True)
        assert "netd runs one server for each address in listen" in result.comments
        result = service("tftp", PROGRAM, socket_type="dgram", wait="yes", flags="IPv4")
        assert only(result)["listen"] == ["udp:69"]
        assert "netd runs one server" not in result.comments

    def test_a_datagram_server_that_does_not_wait_is_left_out(self) -> None:
        """It would have to be told of each datagram."""
        result = service("tftp", PROGRAM, socket_type="dgram")
        assert (result.services, result.problems) == ({}, [])
        assert "Left out: tftp: wait = no means" in result.comments

    def test_a_user_by_number_has_the_group_of_that_number(self) -> None:
        """So it is in xinetd, whatever passwd(5) says."""
        table = only(service("telnet", PROGRAM, user="1000"))
        assert (table["user"], table["group"]) == (1000, 1000)
        table = only(service("telnet", PROGRAM, user="1000", group="tty"))
        assert (table["user"], table["group"]) == (1000, "tty")


class TestInternal:
    @pytest.mark.parametrize(
        ("name", "kind", "listen"),
        [("echo", "stream", ["tcp:7", "tcp6:7"]), ("echo", "dgram", ["udp:7", "udp6:7"])],
    )
    def test_is_a_handler_of_netd(self, name: str, kind: str, listen: list[str]) -> None:
        """By the name of the service, not by its id; xinetd ignores user and group."""
        result = service(
            name, INTERNAL, socket_type=kind, wait="yes", user="root", group="tty", id=f"my-{kind}"
        )
        assert only(result) == {"listen": listen, "handler": name}
        assert f"[services.my-{kind}]" in result.text

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("services", "the service services is a part of xinetd"),
            ("servers", "the service servers is a part of xinetd"),
            ("tcpmux", "the service tcpmux is a part of xinetd"),
            ("ftp", "xinetd has no internal service ftp"),
        ],
    )
    def test_others_are_left_out(self, name: str, said: str) -> None:
        """They are no services for clients."""
        result = service(name, INTERNAL, port="9098")
        assert (result.services, result.problems) == ({}, [])
        assert said in result.comments


class TestLeftOut:
    @pytest.mark.parametrize(
        ("attributes", "said"),
        [
            ({"type": "RPC", "rpc_version": "1-2"}, "it is an RPC service"),
            ({"type": "TCPMUX UNLISTED"}, "it is reached by TCPMUX"),
            ({"type": "TCPMUXPLUS UNLISTED"}, "it is reached by TCPMUX"),
            ({"flags": "SENSOR", "deny_time": "60"}, "it is a sensor"),
            ({"redirect": "10.0.0.1 23", "server": ""}, "it redirects to 10.0.0.1 port 23"),
            ({"socket_type": "raw"}, "its socket_type is raw"),
            ({"socket_type": "seqpacket"}, "its socket_type is seqpacket"),
            ({"protocol": "sctp"}, "netd has no stream service of protocol sctp"),
            ({"protocol": "udp"}, "netd has no stream service of protocol udp"),
            ({"socket_type": ""}, "it has no socket_type"),
            ({"server": ""}, "it has no server"),
        ],
    )
    def test_what_netd_has_nothing_like_is_said(
        self, attributes: dict[str, str], said: str
    ) -> None:
        """With its place, and without a table."""
        result = service("telnet", PROGRAM, attributes)
        assert (result.services, result.problems) == ({}, [])
        assert "From conf:1 Left out: telnet: " in result.comments
        assert said in result.comments


class TestListening:
    @pytest.mark.parametrize(
        ("attributes", "listen"),
        [
            ({}, ["tcp:23", "tcp6:23"]),
            ({"flags": "IPv4"}, ["tcp:23"]),
            ({"flags": "IPv6"}, ["tcp:23", "tcp6:23"]),
            ({"flags": "IPv4 IPv6"}, ["tcp:23", "tcp6:23"]),
            ({"flags": "IPv6", "v6only": "yes"}, ["tcp6:23"]),
            ({"v6only": "yes"}, ["tcp6:23"]),
            ({"v6only": "no"}, ["tcp:23", "tcp6:23"]),
            ({"bind": "127.0.0.1"}, ["tcp:23:interface=127.0.0.1"]),
            ({"interface": "127.0.0.1"}, ["tcp:23:interface=127.0.0.1"]),
            ({"bind": "::1"}, ["tcp6:23:interface=[::1]"]),
            ({"bind": "0.0.0.0"}, ["tcp:23"]),
            ({"bind": "::"}, ["tcp:23", "tcp6:23"]),
            ({"bind": "::", "v6only": "yes"}, ["tcp6:23"]),
            ({"bind": "gate.example", "flags": "IPv4"}, ["tcp:23:interface=gate.example"]),
            ({"bind": "gate.example", "v6only": "yes"}, ["tcp6:23:interface=gate.example"]),
            ({"port": "23"}, ["tcp:23", "tcp6:23"]),
            ({"port": "2323", "type": "UNLISTED"}, ["tcp:2323", "tcp6:2323"]),
            ({"protocol": "tcp"}, ["tcp:23", "tcp6:23"]),
            ({"protocol": "tcp", "socket_type": ""}, ["tcp:23", "tcp6:23"]),
        ],
    )
    def test_address_family_and_port(self, attributes: dict[str, str], listen: list[str]) -> None:
        """As xinetd binds them."""
        assert only(service("telnet", PROGRAM, attributes))["listen"] == listen

    def test_a_host_name_without_a_flag_may_be_of_either_family(self) -> None:
        """xinetd asks when it starts; netd is told."""
        result = service("telnet", PROGRAM, bind="gate.example")
        assert only(result)["listen"] == ["tcp:23:interface=gate.example"]
        assert "xinetd takes whatever address gate.example has" in result.comments

    def test_a_port_that_is_not_known_leaves_the_service_off(self) -> None:
        """The machine that it comes from may have known it."""
        result = service("mine", PROGRAM, flags="IPv4")
        assert result.problems == []
        table = result.services["mine"]
        assert (table["enabled"], table["listen"]) == (False, ["tcp:0"])
        assert "the port of mine is not known here" in result.comments

    @pytest.mark.parametrize("name", ["telnet", "mine"])
    def test_a_port_that_services_does_not_have_leaves_it_off(self, name: str) -> None:
        """As xinetd has it, unless the service is said to be unlisted."""
        result = service(name, PROGRAM, port="2323", flags="IPv4")
        assert result.problems == []
        table = result.services[name]
        assert (table["enabled"], table["listen"]) == (False, ["tcp:2323"])
        assert f"services(5) has no {name} on port 2323 here" in result.comments
        result = service(name, PROGRAM, port="2323", flags="IPv4", type="UNLISTED")
        assert "enabled" not in only(result)

    def test_an_unlisted_service_must_say_its_port(self) -> None:
        """Even if services(5) happens to have the name."""
        result = service("telnet", PROGRAM, type="UNLISTED", flags="IPv4")
        table = result.services["telnet"]
        assert (table["enabled"], table["listen"]) == (False, ["tcp:0"])

    @pytest.mark.parametrize(
        ("attributes", "said"),
        [
            ({"port": "0"}, "0 is no port, which is from 1 to 65535"),
            ({"port": "telnet"}, "telnet is no port, which is from 1 to 65535"),
            ({"bind": "127.1"}, "bind = 127.1 is no address"),
            ({"bind": "::g"}, "bind = ::g is no address"),
            ({"bind": "::1", "flags": "IPv4"}, "bind = ::1 is of another family"),
            ({"bind": "127.0.0.1", "v6only": "yes"}, "bind = 127.0.0.1 is of another family"),
            ({"wait": ""}, "it has no wait, without which xinetd does not offer it"),
            ({"flags": "NAMEINARGS"}, "it has no server_args, without which xinetd does not"),
            ({"user": ""}, "it has no user, without which xinetd does not offer it"),
        ],
    )
    def test_what_xinetd_does_not_offer_is_a_problem_and_off(
        self, attributes: dict[str, str], said: str
    ) -> None:
        """But none if nobody wants it."""
        result = service("telnet", PROGRAM, attributes)
        (problem,) = result.problems
        assert problem.startswith(f"conf:1: telnet: {said}")
        assert result.services["telnet"]["enabled"] is False
        result = service("telnet", PROGRAM, attributes, disable="yes")
        assert result.problems == []
        assert result.services["telnet"]["enabled"] is False


class TestFlags:
    def test_socket_options(self) -> None:
        """Of connections, not of datagrams."""
        table = only(service("telnet", PROGRAM, flags="KEEPALIVE NODELAY REUSE"))
        assert table["socket"] == {"TCP_NODELAY": True, "SO_KEEPALIVE": True}
        table = only(
            service("tftp", PROGRAM, socket_type="dgram", wait="yes", flags="KEEPALIVE NODELAY")
        )
        assert "socket" not in table

    @pytest.mark.parametrize("flag", ["IDONLY", "LABELED"])
    def test_one_that_keeps_somebody_out_leaves_the_service_off(self, flag: str) -> None:
        """It would be more open without."""
        result = service("telnet", PROGRAM, flags=flag)
        assert only(result)["enabled"] is False
        assert f"Off: the flag {flag} " in result.comments

    @pytest.mark.parametrize("flag", ["NORETRY", "INTERCEPT"])
    def test_others_are_said(self, flag: str) -> None:
        """They have no counterpart."""
        result = service("telnet", PROGRAM, flags=flag)
        assert "enabled" not in only(result)
        assert f"Left out: the flag {flag}." in result.comments


class TestWrappers:
    TEXT = "service telnet\n{{\nport = 23\nsocket_type = stream\nwait = no\nuser = root\n{}}}\n"
    SERVER = "server = /bin/cat\n"

    def test_rules_that_xinetd_asks_leave_its_services_off(self) -> None:
        """They are in files that netd does not read."""
        machine = FakeMachine(rules=("/etc/hosts.deny",))
        result = import_text(self.TEXT.format(self.SERVER), machine)
        assert result.services["telnet"]["enabled"] is False
        assert "xinetd asks the rules in /etc/hosts.deny about its clients" in result.comments

    @pytest.mark.parametrize(
        ("rules", "flags"), [((), ""), (("/etc/hosts.deny",), "flags = NOLIBWRAP\n")]
    )
    def test_without_rules_or_with_a_flag_it_does_not_matter(
        self, rules: tuple[str, ...], flags: str
    ) -> None:
        """A service that has the flag was open before."""
        machine = FakeMachine(rules=rules)
        result = import_text(self.TEXT.format(self.SERVER + flags), machine)
        assert "enabled" not in result.services["telnet"]
        assert ("xinetd asks the rules of hosts_access(5)" in result.comments) is not flags


class TestProblems:
    def test_leave_the_service_off_and_say_why(self) -> None:
        """The line may have been the one that kept everybody out."""
        result = import_text(
            "service telnet\n{\nsocket_type = stream\nwait = no\nuser = root\nserver = /bin/a\n"
            "only_form = 10.0.0.0\n}\n"
        )
        assert result.problems == [
            "conf:7: only_form is no attribute of xinetd: did you mean only_from?"
        ]
        assert result.services["telnet"]["enabled"] is False
        assert "Off: it has a problem: only_form is no attribute of xinetd" in result.comments
