"""Whatever stands in a file, an import prints TOML, and nothing that is more open than it was."""

from __future__ import annotations

import tempfile
import tomllib
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from netd.admission.networks import NetworkSet
from netd.config.load import load
from netd.ctl.inetd.attributes import ATTRIBUTES
from netd.ctl.inetd.draft import ORDER
from tests.ctl.inetd.machines import FakeMachine, Result, StrictMachine, import_text

WORDS = st.text(st.characters(exclude_characters=" \t\r\n\f\v"), min_size=1, max_size=8)
TEXTS = st.text(st.sampled_from("service defaults{}=+-#\n\t ab\"'\\\u0085\x00é") | st.characters())
ADDRESSES = st.sampled_from(
    ["10.0.0.0", "1.2.3.4", "128.138.{12,13}", "::1", "2001:db8::/32", "office", "10.0", "{"]
)

SENSIBLE: dict[str, st.SearchStrategy[str]] = {
    "id": st.sampled_from(["a", "b", "a b"]),
    "type": st.sampled_from(["INTERNAL", "UNLISTED", "RPC", "INTERNAL UNLISTED"]),
    "flags": st.lists(
        st.sampled_from(["IPv4", "IPv6", "NODELAY", "NAMEINARGS", "IDONLY", "NOLIBWRAP"])
    ).map(" ".join),
    "disable": st.sampled_from(["yes", "no"]),
    "socket_type": st.sampled_from(["stream", "dgram", "raw"]),
    "protocol": st.sampled_from(["tcp", "udp", "sctp"]),
    "port": st.integers(-1, 70000).map(str),
    "interface": st.sampled_from(["127.0.0.2", "::1"]),
    "bind": st.sampled_from(["127.0.0.1", "::1", "0.0.0.0", "::", "1.2"]),
    "wait": st.sampled_from(["yes", "no"]),
    "server": st.sampled_from(["/bin/cat", "/bin/true", "/bin/none-such"]),
    "user": st.sampled_from(["root", "nobody", "0", "none-such", "4000000000"]),
    "group": st.sampled_from(["root", "0", "none-such"]),
    "only_from": st.lists(ADDRESSES, max_size=3).map(" ".join),
    "no_access": st.lists(ADDRESSES, max_size=3).map(" ".join),
    "access_times": st.sampled_from(["8:00-9:00", "9:00-8:00", "0:00-23:59 1:00-2:00"]),
    "umask": st.sampled_from(["22", "022", "8"]),
    "nice": st.sampled_from(["-20", "19", "20"]),
    "env": st.sampled_from(["A=1 B=", "=", "A"]),
    "rlimit_as": st.sampled_from(["8M", "UNLIMITED", "9223372036854775807"]),
    "rlimit_cpu": st.sampled_from(["20", "UNLIMITED"]),
    "rlimit_files": st.sampled_from(["100", "UNLIMITED"]),
    "instances": st.sampled_from(["0", "5", "UNLIMITED"]),
    "per_source": st.sampled_from(["0", "5", "UNLIMITED"]),
    "cps": st.sampled_from(["0 0", "5 10", "5"]),
}
"""Values that an attribute may have; the others have any words."""

COMPLETE = ["socket_type = stream", "wait = no", "user = root", "server = /bin/cat"]


def entries(otherwise: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Entries of xinetd whose values are sensible, or *otherwise*."""
    some = st.lists(WORDS, max_size=3).map(" ".join)
    operators = st.sampled_from(["=", "=", "=", "+=", "-="])
    lines = st.one_of(
        [
            st.tuples(st.just(name), operators, SENSIBLE.get(name, some) | otherwise)
            for name in ATTRIBUTES
        ]
    ).map(" ".join)
    heads = st.sampled_from(["service telnet", "service echo", "service mine", "defaults"])
    return st.tuples(heads, st.sampled_from([[], COMPLETE]), st.lists(lines, max_size=6)).map(
        lambda entry: "\n".join([entry[0], "{", *entry[1], *entry[2], "}", ""])
    )


ENTRIES = entries(otherwise=WORDS)
FIELDS = st.tuples(
    st.sampled_from(["telnet", "echo", "8080", "127.0.0.1:ftp", "[::1]:1", "/run/a:b"]) | WORDS,
    st.sampled_from(["stream", "dgram", "raw"]) | WORDS,
    st.sampled_from(["tcp", "tcp4", "tcp46", "udp", "unix", "tcp,rcvbuf=1k"]) | WORDS,
    st.sampled_from(["wait", "nowait", "nowait.5", "wait.x"]) | WORDS,
    st.sampled_from(["root", "nobody.nogroup", "0:0"]) | WORDS,
    st.sampled_from(["internal", "/bin/cat"]) | WORDS,
    st.lists(WORDS, max_size=3).map(" ".join),
).map(" ".join)

SENSIBLE_FIELDS = st.tuples(
    st.sampled_from(
        ["telnet", "echo", "8080", "127.0.0.1:ftp", "[::1]:1", "/run/a:b", f"/run/{'x' * 200}"]
    ),
    st.sampled_from(["stream", "dgram", "raw"]),
    st.sampled_from(["tcp", "tcp4", "tcp46", "udp", "unix", "tcp,rcvbuf=1k", "tcp,sndbuf=9999m"]),
    st.sampled_from(["wait", "nowait", "nowait.5"]),
    st.sampled_from(["root", "nobody.nogroup", "0:0", "none-such", "root:none-such", "4000000000"]),
    st.sampled_from(["internal", "/bin/cat", "/bin/none-such"]),
    st.sampled_from(["", "cat", "cat -u", "other"]),
).map(" ".join)
"""Without words that could be the name of a host, which netd would look up."""

# Few different numbers, so that clients are often in what is written.
BYTES = st.sampled_from(["0", "1", "10", "255"])
QUADS = st.tuples(BYTES, BYTES, BYTES, BYTES).map(".".join)
NUMBERS = st.lists(
    QUADS
    | st.tuples(QUADS, st.integers(1, 32)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    | st.tuples(st.lists(BYTES, max_size=3), st.lists(BYTES, min_size=1, max_size=3)).map(
        lambda pair: f"{''.join(f'{byte}.' for byte in pair[0])}{{{','.join(pair[1])}}}"
    ),
    max_size=4,
)

MACHINE = FakeMachine(networks={"office": "192.168.0.0"})
STRICT = StrictMachine(networks=MACHINE.networks)


class TestToml:
    @given(st.lists(ENTRIES, min_size=1, max_size=4).map("".join) | TEXTS)
    def test_any_file_of_xinetd_gives_toml(self, text: str) -> None:
        """With keys that an import writes, and no others."""
        for keys in import_text(f"defaults\n{{\n}}\n{text}", MACHINE).services.values():
            assert keys.keys() <= set(ORDER)

    @given(st.lists(FIELDS, min_size=1, max_size=4).map("\n".join) | TEXTS)
    def test_any_file_of_inetd_gives_toml(self, text: str) -> None:
        """With keys that an import writes, and no others."""
        for keys in import_text(text, MACHINE).services.values():
            assert keys.keys() <= set(ORDER)

    @given(st.binary(max_size=200))
    def test_any_bytes_give_toml(self, data: bytes) -> None:
        """A file may have been something else."""
        assert import_text(data, MACHINE).services.keys() >= set()


class TestSafety:
    @given(st.lists(ENTRIES, min_size=1, max_size=3).map("".join))
    def test_a_service_with_a_problem_is_off(self, text: str) -> None:
        """What could not be read may have kept somebody out."""
        result = import_text(text, MACHINE)
        wrong = {int(problem.split(":")[1]) for problem in result.problems}
        for keys, first, last in located(text, result.text):
            if wrong & set(range(first, last + 1)):
                assert keys["enabled"] is False

    @given(
        st.lists(st.tuples(st.sampled_from(["only_from", "no_access"]), NUMBERS), max_size=4),
        QUADS,
    )
    def test_netd_admits_whom_xinetd_admits(
        self, lists: list[tuple[str, list[str]]], client: str
    ) -> None:
        """By the rules of xinetd.conf(5), read here a second time, the simple way."""
        lines = [f"{name} += {' '.join(elements)}" for name, elements in lists]
        text = "\n".join(["service telnet", "{", *COMPLETE, *lines, "}", ""])
        access = import_text(text, MACHINE).services["telnet"].get("access", {})
        allow = NetworkSet(access["allow"]) if "allow" in access else None
        admitted = (allow is None or allow.matches(client)) and not NetworkSet(
            access.get("deny", ())
        ).matches(client)
        matched = {name: False for name, _ in lists}
        for name, elements in lists:
            matched[name] |= any(matches(element, client) for element in elements)
        assert admitted == (matched.get("only_from", True) and not matched.get("no_access", False))


class TestLoading:
    """``netdctl check`` takes what ``netdctl import`` prints, with no key left out here."""

    @settings(deadline=None)
    @given(st.lists(entries(otherwise=st.nothing()), min_size=1, max_size=4).map("".join))
    def test_netd_takes_any_file_of_xinetd(self, text: str) -> None:
        """Whatever of it netd does not have, or this machine."""
        check_is_taken(import_text(text, STRICT))

    @settings(deadline=None)
    @given(st.lists(SENSIBLE_FIELDS, min_size=1, max_size=4).map("\n".join))
    def test_netd_takes_any_file_of_inetd(self, text: str) -> None:
        """Whatever of it netd does not have, or this machine."""
        check_is_taken(import_text(text, STRICT))

    @settings(deadline=None)
    @given(
        st.lists(entries(otherwise=st.nothing()), min_size=1, max_size=2).map("".join),
        st.sets(st.sampled_from(["access.allow", "access.deny", "access.hours"])),
    )
    def test_no_service_is_open_without_a_rule_that_netd_does_not_have(
        self, text: str, lacking: set[str]
    ) -> None:
        """The same file, with and without the keys: what has one of them is off without it."""
        after = import_text(text, replace(MACHINE, lacking=frozenset(lacking))).services
        for name, keys in import_text(text, MACHINE).services.items():
            rules = {f"access.{key}" for key in keys.get("access", {})}
            assert lacking.isdisjoint(rules) or after[name]["enabled"] is False


def check_is_taken(result: Result) -> None:
    """The services that are on are those that netd has from the text."""
    services = result.services
    if not services:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(result.text)
        file.flush()
        loaded = load(file.name)
    enabled = [name for name in services if services[name].get("enabled", True)]
    assert [service.name for service in loaded.services] == enabled


def matches(element: str, client: str) -> bool:
    """Whether xinetd finds a client in one element of a list, by its documentation."""
    if "/" in element:
        address, length = element.split("/")
        shift = 32 - int(length)
        return as_number(address) >> shift == as_number(client) >> shift
    if "{" in element:
        before, choices = element.removesuffix("}").split("{")
        return any(f"{client}.".startswith(f"{before}{last}.") for last in choices.split(","))
    wanted = element.split(".")
    while wanted and wanted[-1] == "0":
        wanted.pop()
    return client.split(".")[: len(wanted)] == wanted


def as_number(address: str) -> int:
    return int.from_bytes(bytes(map(int, address.split("."))))


def located(text: str, output: str) -> list[tuple[dict[str, Any], int, int]]:
    """Each service of *output*, with the first and the last line of its entry in *text*."""
    lines = text.splitlines()
    found = []
    parts = output.split("# From conf:")[1:]
    for part in parts:
        number = int(part.split()[0])
        last = next(n for n in range(number, len(lines) + 1) if lines[n - 1].strip() == "}")
        services = tomllib.loads(part.partition("\n")[2]).get("services", {})
        found += [(service, number, last) for service in services.values()]
    return found
