"""``netd.ctl.inetd.converters``: what becomes of each attribute of xinetd.conf(5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from netd.ctl.inetd.attributes import ATTRIBUTES
from netd.ctl.inetd.converters import CONVERTERS
from tests.ctl.inetd.machines import FakeMachine, Result, import_text

TOGETHER = {
    "id", "type", "flags", "disable", "socket_type", "protocol", "port", "bind", "interface",
    "v6only", "wait", "server", "server_args", "redirect", "enabled", "disabled",
}  # fmt: skip
"""Attributes that say together what a service is; tests/ctl/inetd/test_conversion.py has those."""

NETWORKS = {"office": "192.168.0.0"}


def telnet(*lines: str, waits: bool = False, lacking: Iterable[str] = ()) -> Result:
    """Import a service with some lines more, for a netd that is *lacking* some keys."""
    head = ["service telnet", "{", "socket_type = stream", f"wait = {'yes' if waits else 'no'}"]
    needed = ["server = /bin/telnetd", "user = root", "flags = IPv4 NOLIBWRAP"]
    own = [line for line in needed if not any(more.startswith(line[:6]) for more in lines)]
    text = "\n".join([*head, *own, *lines, "}"])
    machine = FakeMachine(networks=dict(NETWORKS), lacking=frozenset(lacking))
    return import_text(text, machine)


def keys(result: Result) -> dict[str, Any]:
    """What the service has besides the keys that every service has here."""
    assert result.problems == []
    common = {"listen": ["tcp:23"], "program": ["/bin/telnetd"], "user": "root", "wait": True}
    table = result.services["telnet"]
    return {key: table[key] for key in table if table[key] != common.get(key)}


def test_every_attribute_is_known_to_one_of_two_places() -> None:
    """None is passed over in silence."""
    assert CONVERTERS.keys() | TOGETHER == ATTRIBUTES.keys()
    assert not CONVERTERS.keys() & TOGETHER


class TestCarriedOver:
    @pytest.mark.parametrize(
        ("line", "table"),
        [
            ("user = nobody", {"user": "nobody"}),
            ("group = tty", {"group": "tty"}),
            ("group = 5", {"group": 5}),
            ("groups = no", {}),
            ("umask = 27", {"umask": "027"}),
            ("umask = 0022", {"umask": "022"}),
            ("nice = -10", {"nice": -10}),
            ("env = A=1 B=x=y C= A=2", {"environment": {"A": "2", "B": "x=y", "C": ""}}),
            ("env =", {}),
            ("rlimit_as = 8M", {"rlimits": {"RLIMIT_AS": 8 << 20}}),
            ("rlimit_cpu = 20", {"rlimits": {"RLIMIT_CPU": 20}}),
            ("rlimit_data = 64k", {"rlimits": {"RLIMIT_DATA": 64 << 10}}),
            ("rlimit_files = 100", {"rlimits": {"RLIMIT_NOFILE": 100}}),
            ("rlimit_rss = UNLIMITED", {"rlimits": {"RLIMIT_RSS": "unlimited"}}),
            ("rlimit_stack = 1000", {"rlimits": {"RLIMIT_STACK": 1000}}),
            ("instances = 5", {"limits": {"connections": 5}}),
            ("instances = UNLIMITED", {}),
            ("per_source = 2", {"limits": {"connections_per_source": 2}}),
            ("per_source = UNLIMITED", {}),
            ("cps = 25 30", {"limits": {"connection_rate": "25/s"}}),
            ("cps = 0 0", {}),
            (
                "access_times = 2:00-9:05 12:00-23:59",
                {"access": {"hours": ["Mon-Sun 02:00-09:05", "Mon-Sun 12:00-23:59"]}},
            ),
            ("only_from = 10.0.0.0 1.2.3.4", {"access": {"allow": ["10.0.0.0/8", "1.2.3.4"]}}),
            ("only_from = ::1 2001:db8::/32", {"access": {"allow": ["::1", "2001:db8::/32"]}}),
            ("only_from =", {"access": {"allow": []}}),
            ("no_access = 128.138.{12,13}", {"access": {"deny": ["128.138.12.0/24",
                                                                 "128.138.13.0/24"]}}),
            ("no_access = 0.0.0.0", {"access": {"deny": ["0.0.0.0/0"]}}),
            ("no_access = office", {"access": {"deny": ["192.168.0.0/16"]}}),
            ("only_from = office", {"access": {"allow": ["192.168.0.0/16"]}}),
            ("no_access =", {}),
        ],
    )  # fmt: skip
    def test_has_its_key(self, line: str, table: dict[str, Any]) -> None:
        """And no other."""
        assert keys(telnet(line)) == table

    def test_ipv4_clients_are_in_an_ipv6_network_that_holds_their_mapped_addresses(self) -> None:
        """By xinetd's socket for both families, a denial of ::/0 is one of everybody."""
        assert keys(telnet("no_access = ::/0")) == {"access": {"deny": ["::/0", "0.0.0.0/0"]}}


class TestAccess:
    def test_a_domain_is_left_out_of_those_who_may_come_in(self) -> None:
        """Which leaves fewer of them, nobody at worst."""
        result = telnet("only_from = .example.com 10.0.0.0")
        assert keys(result) == {"access": {"allow": ["10.0.0.0/8"]}}
        assert "Left out of allow: .example.com." in result.comments
        assert keys(telnet("only_from = .example.com")) == {"access": {"allow": []}}

    def test_a_host_name_is_kept_and_what_is_different_is_said(self) -> None:
        """netd looks it up the other way round."""
        result = telnet("only_from = localhost")
        assert keys(result) == {"access": {"allow": ["localhost"]}}
        assert "Of a host name in allow, netd takes the addresses" in result.comments

    def test_a_host_that_has_the_name_of_something_else_is_left_out(self) -> None:
        """To netd, "unix" stands for every client of a Unix socket."""
        assert keys(telnet("only_from = unix")) == {"access": {"allow": []}}

    @pytest.mark.parametrize("name", [".example.com", "bad.example"])
    def test_a_name_among_those_who_may_not_leaves_the_service_off(self, name: str) -> None:
        """Whoever has it could come in."""
        result = telnet(f"no_access = {name} 10.0.0.0")
        assert keys(result) == {"enabled": False, "access": {"deny": ["10.0.0.0/8"]}}
        assert f"Off: no_access has {name}" in result.comments

    @pytest.mark.parametrize(
        "line",
        ["only_from = 10.0.0.0", "only_from =", "no_access = 1.2.3.4", "access_times = 8:00-9:00"],
    )
    def test_rules_of_a_server_that_waits_leave_it_off(self, line: str) -> None:
        """netd cannot ask them, since it does not see who comes."""
        result = telnet(line, waits=True)
        assert keys(result) == {"enabled": False}
        name = line.partition(" ")[0]
        assert f"and netd cannot ask whether they are among {name} =" in result.comments

    def test_no_rule_is_no_reason(self) -> None:
        """An empty no_access shuts nobody out."""
        assert keys(telnet("no_access =", waits=True)) == {}


class TestLimits:
    @pytest.mark.parametrize("name", ["instances", "per_source"])
    def test_none_at_all_leaves_the_service_off(self, name: str) -> None:
        """As it is in xinetd, which refuses everybody then."""
        result = telnet(f"{name} = 0")
        assert keys(result) == {"enabled": False}
        assert "xinetd admits no client" in result.comments

    @pytest.mark.parametrize("line", ["instances = 5", "per_source = 5", "cps = 50 10"])
    def test_a_server_that_waits_has_none(self, line: str) -> None:
        """There is one of it, and netd does not see its clients."""
        result = telnet(line, waits=True)
        assert keys(result) == {}
        assert "Left out: " in result.comments

    def test_how_long_a_service_is_shut_is_said(self) -> None:
        """netd does not shut it."""
        assert "Left out: the 30 s for which xinetd shuts" in telnet("cps = 25 30").comments


class TestLacking:
    """Keys that netd does not have yet."""

    @pytest.mark.parametrize(
        ("line", "key", "value"),
        [
            ("instances = 5", "limits.connections", "5"),
            ("per_source = 2", "limits.connections_per_source", "2"),
            ("cps = 25 30", "limits.connection_rate", '"25/s"'),
        ],
    )
    def test_a_limit_is_a_comment(self, line: str, key: str, value: str) -> None:
        """Without it, the service is open to the same clients."""
        result = telnet(line, lacking=[key])
        assert keys(result) == {}
        assert (
            f"* Left out: {key} = {value} would stand here, and this version of netd does not have "
            "that key. The service has no such limit."
        ) in result.comments
        assert "for which xinetd shuts" not in result.comments

    @pytest.mark.parametrize(
        ("line", "key", "value"),
        [
            ("access_times = 8:00-9:00", "access.hours", '["Mon-Sun 08:00-09:00"]'),
            ("only_from = 10.0.0.0", "access.allow", '["10.0.0.0/8"]'),
            ("only_from =", "access.allow", "[]"),
            ("no_access = 1.2.3.4", "access.deny", '["1.2.3.4"]'),
            ("user = nobody", "user", '"nobody"'),
            ("umask = 77", "umask", '"077"'),
        ],
    )
    def test_anything_else_leaves_the_service_off(self, line: str, key: str, value: str) -> None:
        """It restricts who may come in and when, or what they reach."""
        result = telnet(line, lacking=[key])
        table = result.services["telnet"]
        assert table["enabled"] is False
        assert key.partition(".")[0] not in table
        assert (
            f"Off: {key} = {value} would stand here, and this version of netd does not have that "
            "key; without it the service would be more open."
        ) in result.comments

    def test_the_rest_of_a_table_is_printed(self) -> None:
        """It is there for whoever switches the service on."""
        result = telnet("access_times = 8:00-9:00", "only_from = ::1", lacking=["access.hours"])
        assert keys(result) == {"enabled": False, "access": {"allow": ["::1"]}}


class TestLeftOut:
    @pytest.mark.parametrize(
        "line",
        [
            "passenv = PATH TERM",
            "max_load = 2.5",
            "banner = /etc/banner",
            "banner_success = /etc/banner",
            "banner_fail = /etc/banner",
            "log_type = FILE /var/log/x 1M",
            "log_on_success = PID HOST",
            "log_on_failure = HOST ATTEMPT",
            "deny_time = 60",
            "libwrap = telnetd",
            "rpc_version = 1-2",
            "rpc_number = 100001",
            "mdns = no",
        ],
    )
    def test_is_said_with_what_it_was(self, line: str) -> None:
        """And changes nothing else."""
        result = telnet(line)
        assert keys(result) == {}
        assert f"* Left out: {line}." in result.comments

    def test_what_the_defaults_have_is_said_once(self) -> None:
        """Every service has it."""
        service = (
            "service telnet\n{\nsocket_type = stream\nwait = no\nuser = root\nserver = /a\n}\n"
        )
        defaults = "defaults\n{\nlog_type = SYSLOG daemon\nbanner = /b\nlog_on_success = PID\n}\n"
        result = import_text(defaults + service + service.replace("telnet", "ftp"))
        for said in ("log_type = SYSLOG daemon", "banner = /b", "log_on_success = PID"):
            assert result.comments.count(f"Left out of the defaults: {said}.") == 1
            assert result.comments.count(said) == 1

    def test_supplementary_groups_are_said(self) -> None:
        """A program may need them."""
        assert "Left out: groups = yes." in telnet("groups = yes").comments


class TestProblems:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("user = 99999999999", "user: 99999999999 is no user or group"),
            ("umask = 8", "umask: 8 is not octal from 000 to 777"),
            ("umask = 7777", "umask: 7777 is not octal from 000 to 777"),
            ("nice = 20", "nice: 20 is no nice value, which is from -20 to 19"),
            ("nice = low", "nice: low is no nice value"),
            ("rlimit_as = 8G", "rlimit_as: 8G is no size, which is like 65536, 64K or 8M"),
            ("rlimit_cpu = unlimited", "rlimit_cpu: unlimited is no size"),
            ("rlimit_as = 9223372036854775807k", "is no size"),
            ("instances = -1", "instances: -1 is no number, which is 0 or more"),
            ("instances = unlimited", "instances: unlimited is no number"),
            ("cps = x 1", "cps: x is no number of connections"),
            ("cps = 1 x", "cps: x is no number of seconds"),
            ("access_times = 8-9", "access_times: 8-9 is no time interval"),
            ("access_times = 22:00-6:00", "22:00-6:00 is no interval of one day"),
            ("access_times = 12:00-24:00", "12:00-24:00 is no interval of one day"),
            ("access_times = 8:60-9:00", "8:60-9:00 is no interval of one day"),
        ],
    )
    def test_a_value_that_xinetd_refuses_leaves_the_service_off(self, line: str, said: str) -> None:
        """And is reported where it stands."""
        result = telnet(line)
        (problem,) = result.problems
        file, number, message = problem.split(":", 2)
        assert (file, result.services["telnet"]["enabled"]) == ("conf", False)
        assert said in message
        text = result.comments
        assert " ".join(message.split()) in text
        assert int(number) > 2
