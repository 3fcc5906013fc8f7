"""Any valid configuration is read as it was written, and nothing ends in an exception.

Strategies draw what a file says as dictionaries, and ``document`` writes them as TOML.
"""

from __future__ import annotations

import datetime
import json
import os
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from netd.config.load import load
from netd.config.schema import AccessTable, DaemonTable, LogTable, MainFile, ServiceTable
from netd.model.address import Address, InetAddress, Transport, UnixAddress
from netd.model.log import LEVELS, Log
from netd.model.problem import ConfigurationError
from netd.model.service import Access, Configuration, Reference, Requested, Runs

unhurried: Final = settings(deadline=None)
"""Every example writes files, on a machine that may have other things to do."""

# Values as TOML.


def document(table: dict[str, Any], headers: int, path: tuple[str, ...] = ()) -> str:
    """Write *table*: the tables in it with headers to a depth of *headers*, below that inline."""
    inner = {key: value for key, value in table.items() if headers and isinstance(value, dict)}
    text = "".join(
        f"{string(key)} = {inline(value)}\n" for key, value in table.items() if key not in inner
    )
    for key, value in inner.items():
        around = (*path, key)
        text += f"\n[{'.'.join(map(string, around))}]\n" + document(value, headers - 1, around)
    return text


def inline(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return string(value)
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{string(key)} = {inline(value[key])}' for key in value)}}}"
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    return str(value)


def string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


CHARACTERS: Final = st.characters(exclude_categories=["Cs"])

scalars: st.SearchStrategy[Any] = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(CHARACTERS, max_size=10)
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
)

# Valid configurations: what is written, beside what it means.


@dataclass(frozen=True)
class Said:
    """A value as a file has it, and as the daemon has it."""

    written: Any
    meant: Any


def said(strategy: st.SearchStrategy[Any], meaning: Callable[[Any], Any]) -> Any:
    return strategy.map(lambda value: Said(value, meaning(value)))


def same(strategy: st.SearchStrategy[Any]) -> Any:
    return said(strategy, lambda value: value)


def amounts(units: dict[str, float], least: int, most: int) -> Any:
    """Amounts from *least* to *most* of the smallest unit, with it and without."""
    texts = st.builds(
        lambda number, unit: Said(f"{number}{unit}", number * units[unit]),
        st.integers(least, int(most // max(units.values()))),
        st.sampled_from(sorted(units)),
    )
    return texts | same(st.integers(least, most))


def reference(text: str) -> Reference:
    return Reference(*text.split(":"))


def tables(keys: dict[str, Any]) -> st.SearchStrategy[dict[str, Said]]:
    return st.fixed_dictionaries({}, optional=keys)


words = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
references = said(st.builds("{}.{}:{}".format, words, words, words), reference)
networks = same(
    st.lists(
        st.ip_addresses(v=4).map(str)
        | st.integers(1, 2**32 - 2).map("uid:{}".format)
        | st.sampled_from(["unix", "10.0.0.0/8", "2001:db8::/32", "::/0", "gid:0"]),
        max_size=3,
    ).map(tuple)
)
durations = amounts({"ms": 0.001, "s": 1, "m": 60, "h": 3600}, 1, 10**6)

# Names of tables and of other values differ, so that defaults and services merge, and never one
# replaces the other.
options = st.recursive(
    st.dictionaries(st.sampled_from(["a", "b c", ""]), scalars | st.lists(scalars, max_size=2)),
    lambda inner: st.dictionaries(st.sampled_from(["t", "t.u", "é"]), inner, max_size=2),
    max_leaves=3,
)

services = st.fixed_dictionaries(
    {"handler": references},
    optional={
        "concurrency": same(st.sampled_from(["reactor", "thread", "process"])),
        "threads": same(st.integers(1, 10_000)),
        "processes": same(st.integers(1, 1_000)),
        "worker": same(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,9}", fullmatch=True)),
        "backlog": same(st.integers(1, 65535)),
        "datagram_size": amounts({"B": 1, "KiB": 1024, "MiB": 1 << 20}, 1, 1 << 20),
        "enabled": same(st.booleans()),
    },
)
rest = {
    "options": options,
    "access": tables(
        {
            "allow": networks,
            "deny": networks,
            "verify_request": references,
            "verify_timeout": durations,
            "dry_run": same(st.booleans()),
        }
    ),
    "proxy_protocol": tables(
        {"from": same(st.lists(st.sampled_from(["10.0.0.1", "unix", "::/0"])).map(tuple))}
    ),
    "limits": tables({"handshakes": same(st.integers(1, 1_000_000))}),
}
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,9}", fullmatch=True)

Listening = Callable[[int, str], tuple[str, Address]]

LISTENING: Final[list[Listening]] = [
    lambda number, _: (f"tcp:{number}", InetAddress(Transport.TCP, number)),
    lambda number, _: (
        f"udp6:{number}:interface=[::1]",
        InetAddress(Transport.UDP6, number, "::1"),
    ),
    lambda number, _: (f"unix:@{number}", UnixAddress(Transport.UNIX, f"@{number}")),
    lambda number, directory: (
        f"unixgram:run/{number}:mode=600",
        UnixAddress(Transport.UNIXGRAM, f"{directory}/run/{number}", 0o600),
    ),
    lambda _, __: ("tcp6:0", InetAddress(Transport.TCP6, 0)),
]


@dataclass(frozen=True)
class Drawn:
    """A service as it was drawn."""

    file: str
    keys: dict[str, Said]
    tables: dict[str, Any]
    listening: list[Listening]


drawn_services = st.builds(
    Drawn,
    st.sampled_from(["netd.toml", "parts/a.toml", "parts/b.toml"]),
    services,
    tables(rest),
    st.lists(st.sampled_from(LISTENING), min_size=1, max_size=3),
)


def written(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: written(inner) for key, inner in value.items()}
    value = value.written if isinstance(value, Said) else value
    return list(value) if isinstance(value, tuple) else value


def flat(value: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """The values of nested tables by their paths; an empty table is a path to nothing."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield (*path, key), None
            yield from flat(inner, (*path, key))
        else:
            yield (*path, key), inner.meant if isinstance(inner, Said) else inner


WANTED: Final = ("concurrency", "threads", "processes", "backlog", "datagram_size")


def wanted(said: dict[str, Said]) -> Requested:
    return Requested(**{key: said[key].meant for key in WANTED if key in said})


def check(found: Configuration, name: str, meant: dict[Any, Any], listen: list[Address]) -> None:
    """The service is as it was meant, its defaults where nothing was said."""
    (service,) = (each for each in found.services if each.name == name)
    assert list(service.listen) == listen
    assert service.runs == Runs("handler", meant["handler",])
    assert service.worker == meant.get(("worker",), name)
    access = {path[1]: value for path, value in meant.items() if path[:1] == ("access",) != path}
    assert service.access.verify_timeout == pytest.approx(access.pop("verify_timeout", 5.0))
    assert service.access == Access(**access, verify_timeout=service.access.verify_timeout)
    assert service.proxies == meant.get(("proxy_protocol", "from"), ())
    assert service.handshakes == meant.get(("limits", "handshakes"), 1000)
    expected = {path[1:]: value for path, value in meant.items() if path[:1] == ("options",)}
    expected.pop((), None)
    assert dict(flat(dict(service.options))) == expected


logs: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "format": st.sampled_from(["text", "json"]),
        "level": st.sampled_from(LEVELS),
        "connections": st.booleans(),
        "file": st.just("/var/log/netd.log"),
    },
)


class TestValid:
    @unhurried
    @given(
        drawn=st.dictionaries(names, drawn_services, min_size=1, max_size=4),
        defaults=services | st.just({}),
        default_tables=tables(rest),
        graceful=durations | st.none(),
        log=logs,
        headers=st.integers(0, 4),
    )
    def test_is_read_as_it_was_written(
        self,
        drawn: dict[str, Drawn],
        defaults: dict[str, Said],
        default_tables: dict[str, Any],
        graceful: Said | None,
        log: dict[str, Any],
        headers: int,
    ) -> None:
        """Whatever stands in which file, inline or under a header, in the defaults or not."""
        every: dict[str, dict[str, Any]] = {"netd.toml": {"include": ["parts/*"]}}
        every["netd.toml"]["defaults"] = {**defaults, **default_tables}
        if graceful is not None:
            every["netd.toml"]["daemon"] = {"graceful_timeout": graceful}
        every["netd.toml"]["log"] = log
        with tempfile.TemporaryDirectory() as directory:
            listens: dict[str, list[Address]] = {}
            number = 0
            for name, service in drawn.items():
                where = os.path.dirname(os.path.join(directory, service.file))
                pairs = []
                for listening in service.listening:
                    number += 1
                    pairs.append(listening(number, where))
                listens[name] = [address for _, address in pairs]
                table = {"listen": [text for text, _ in pairs], **service.keys, **service.tables}
                every.setdefault(service.file, {}).setdefault("services", {})[name] = table
            os.mkdir(os.path.join(directory, "parts"))
            for file, table in every.items():
                text = document(written(table), headers)
                assert tomllib.loads(text) == written(table)
                with open(os.path.join(directory, file), "w", encoding="utf-8") as opened:
                    opened.write(text)
            found = load(os.path.join(directory, "netd.toml"))
        assert found.graceful_timeout == pytest.approx(30 if graceful is None else graceful.meant)
        assert found.log == Log(**log)
        enabled = []
        for name in sorted(drawn, key=lambda name: drawn[name].file != "netd.toml"):
            service = drawn[name]
            meant = {
                **dict(flat({**defaults, **default_tables})),
                **dict(flat({**service.keys, **service.tables})),
            }
            if meant.get(("enabled",), True):
                enabled.append(name)
                check(found, name, meant, listens[name])
                (each,) = (each for each in found.services if each.name == name)
                others = {key: defaults[key] for key in defaults if key not in service.keys}
                assert (each.own, each.defaults) == (wanted(service.keys), wanted(others))
        assert sorted(each.name for each in found.services) == sorted(enabled)


# Junk. No text of it is a host name, which would be looked up.

KEYS: Final = sorted(
    {
        *MainFile.model_fields, *ServiceTable.model_fields, *AccessTable.model_fields,
        *DaemonTable.model_fields, *LogTable.model_fields, "time", "b", "", "a b", "\x1b",
        "x" * 200,
    }
)  # fmt: skip
TEXTS: Final = [
    "", "\0", "m:C", "tcp:1", "tcp:", "unix:x", "unix:@", "udp6:99999", "tcp6:1:interface=[::1]",
    "::1", "10.0.0.0/8", "uid:5", "uid:-1", "30s", "1e9h", "64KiB", "9" * 400, "*", "/*", "../*",
    "[", "\0/*", "thread", "root", ".", "netd.toml", "a b", "\N{RIGHT-TO-LEFT OVERRIDE}",
]  # fmt: skip

junk_scalars = (
    st.sampled_from(TEXTS)
    | st.text(st.characters(exclude_categories=["Cs"], min_codepoint=0x80))
    | st.sampled_from([0, 1, -1, 2**31, 2**32 - 1, 2**64, 10**400, 0.5, -0.0, 1e300])
    | st.floats()
    | st.integers()
    | st.booleans()
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
)
junk_keys = st.sampled_from(KEYS) | st.text(CHARACTERS, max_size=3)
junk = st.recursive(
    junk_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(junk_keys, inner, max_size=4),
    max_leaves=8,
)


def keyed(model: type[MainFile | ServiceTable | AccessTable | LogTable], **known: Any) -> Any:
    """Tables of *model*'s keys, and now and then of another, with junk for *known*'s rest."""
    fields = {key: known.get(key, junk) | junk for key in model.model_fields}
    return st.builds(
        lambda table, more: {**more, **table},
        st.fixed_dictionaries({}, optional=fields),
        st.dictionaries(junk_keys, junk, max_size=1),
    )


junk_services = keyed(
    ServiceTable,
    listen=st.lists(st.sampled_from(TEXTS), max_size=3),
    handler=st.just("m:C"),
    access=keyed(AccessTable, allow=st.lists(st.sampled_from(TEXTS), max_size=3)),
)
junk_files = keyed(
    MainFile,
    services=st.dictionaries(junk_keys, junk_services, max_size=3),
    defaults=junk_services,
    log=keyed(LogTable, file=st.sampled_from(TEXTS)),
    include=st.lists(st.sampled_from(["*.toml", ".", "", "none", "\0"]), max_size=2),
)


def refusal(data: bytes) -> list[tuple[int, str]]:
    """The line and the text of each problem of a file; none of them lies outside of it."""
    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "netd.toml")
        with open(file, "wb") as opened:
            opened.write(data)
        try:
            load(file)
        except ConfigurationError as error:
            problems = error.problems
        else:
            return []
    lines = max(1, data.count(b"\n") + (not data.endswith(b"\n")))
    for problem in problems:
        assert 1 <= problem.line <= lines or problem.file != file
        assert str(problem).isprintable()
        assert problem.message
        assert not problem.message.endswith((":", ", not"))
    assert len(set(problems)) == len(problems)
    assert problems
    return [(problem.line, str(problem)) for problem in problems]


class TestJunk:
    @unhurried
    @given(junk_files, st.integers(0, 3))
    def test_tables_are_refused_in_lines_of_the_file(
        self, table: dict[str, Any], headers: int
    ) -> None:
        """Known keys with any value, and any keys: a problem each, at a line that there is."""
        found = refusal(document(table, headers).encode())
        event("refused" if found else "taken")

    @unhurried
    @given(st.dictionaries(junk_keys, junk), st.integers(0, 3))
    def test_tables_of_no_shape_are_refused(self, table: dict[str, Any], headers: int) -> None:
        """Even where nothing is as the schema has it."""
        refusal(document(table, headers).encode())

    @unhurried
    @given(st.sampled_from(sorted(ServiceTable.model_fields)), junk, st.booleans())
    def test_one_value_is_refused_at_its_own_line(
        self, key: str, value: Any, in_defaults: bool
    ) -> None:
        """Nothing else is blamed for it."""
        good = {} if key == "plugin" else {"listen": ["tcp:1"], "handler": "m:C"}
        where = "defaults" if in_defaults else "services.a"
        own = f"[{where}]\n{key} = {inline(value)}\n"
        rest = document({name: good[name] for name in good if name != key}, 0)
        head = f"{own}[services.a]\n" if in_defaults else own
        for line, text in refusal(f"{head}{rest}".encode()):
            assert (line, f": {where}.{key}" in text) == (2, True)

    @unhurried
    @given(
        st.binary()
        | st.text("[]{}=.,'\"\\#\n \t\rau0\0é\x7f", max_size=40).map(str.encode)
        | st.text().map(lambda text: text.encode("utf-8", "replace"))
    )
    def test_bytes_are_refused(self, data: bytes) -> None:
        """A file need not be TOML, nor text."""
        refusal(data)

    @unhurried
    @given(st.data())
    def test_a_good_file_that_was_cut_or_scrambled_is_refused(self, data: st.DataObject) -> None:
        """Half a file, as a full disk leaves it, or one with a slip of the finger."""
        good = document({"services": {"time": {"listen": ["tcp:1"], "handler": "m:C"}}}, 2).encode()
        start = data.draw(st.integers(0, len(good)))
        end = data.draw(st.integers(start, len(good)))
        slip = data.draw(st.sampled_from([b"", b"\n", b"]", b'"', b"=", b"\xff", b"\r"]))
        refusal(good[:start] + slip + good[end:])
