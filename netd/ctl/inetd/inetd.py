"""From lines of inetd.conf(5) to services of netd, as openbsd-inetd and GNU inetd read them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from netd.ctl.inetd import listening, programs
from netd.ctl.inetd.draft import Draft, Service
from netd.ctl.inetd.lines import NO_TEXT, Line, Location, significant
from netd.ctl.inetd.listening import BOTH, UNKNOWN, Families
from netd.ctl.inetd.machine import Machine
from netd.ctl.inetd.values import INTERNAL, account, number, size
from netd.model.problem import Problem


@dataclass(frozen=True)
class Field:
    """One of the fields of a line, for the documentation."""

    name: str
    becomes: str
    note: str = ""


FIELDS: Final = (
    Field("`ADDRESS:` before the name, or on a line of its own", "`listen`", "`:interface=`"),
    Field(
        "service name",
        "`[services.NAME]`, `listen`",
        "looked up in services(5); `name/version` of RPC and `tcpmux/name` are left out",
    ),
    Field("socket type", "`listen`", "`stream` and `dgram`; others are left out"),
    Field(
        "protocol",
        "`listen`",
        "`tcp` and `udp` are both families, as in openbsd-inetd (IPv4 in GNU inetd); `tcp4`, "
        "`tcp6`, `tcp6only`, `tcp46`, the same of `udp`; `unix`",
    ),
    Field("`,rcvbuf=SIZE`, `,sndbuf=SIZE`", "`socket.SO_RCVBUF`, `socket.SO_SNDBUF`"),
    Field(
        "`wait`, `nowait`",
        "`wait`",
        "one process for each address in `listen`; a `dgram` service with `nowait` is left out",
    ),
    Field(
        "`.MAX` after it",
        "`limits.connection_rate`",
        'as `"MAX/m"`; inetd shuts the service for ten minutes. Without it, the 256 (GNU: 40) a '
        "minute of inetd itself have no counterpart",
    ),
    Field(
        "user`.`group, user`:`group",
        "`user`, `group`",
        "a program has no supplementary groups; not for `internal`, where inetd ignores it",
    ),
    Field(
        "program, arguments",
        "`program`",
        "errors go to netd's log, not to the client; `tcpd` stays, and is started by bash, which "
        "can give it the name that it goes by",
    ),
    Field("`internal`", "`handler`", "echo, discard, chargen, daytime and time"),
)
"""The fields, in the order of the documentation."""

LEAST_FIELDS: Final = 6
"""Name, socket type, protocol, wait, user and program; its arguments may be missing."""

_PROTOCOL: Final = re.compile(r"(?P<rpc>rpc/)?(?P<name>tcp|udp)(?P<family>|4|6|6only|46)")
_FAMILIES: Final[dict[str, Families]] = {
    "": BOTH,
    "4": (4,),
    "6": (6,),
    "6only": (6,),
    "46": (6,),
}
_SOCKET_TYPES: Final = ("stream", "dgram", "raw", "rdm", "seqpacket")
_BUFFERS: Final = {"rcvbuf": "SO_RCVBUF", "sndbuf": "SO_SNDBUF"}
_WAIT: Final = re.compile(r"(?P<wait>wait|nowait)(?:\.(?P<most>.*))?", re.DOTALL)

_BOTH_FAMILIES: Final = (
    "The protocols tcp and udp stand for IPv4 and IPv6 here, as in openbsd-inetd. If you come from "
    "GNU inetd (inetutils), where they are IPv4 only, take tcp6: and udp6: out."
)
_GROUPS: Final = "inetd gives a program the supplementary groups of its user; netd gives none."


def services(file: str, data: bytes, machine: Machine) -> tuple[list[Service], list[Problem]]:
    """Return the services of a file, and the problems with the lines that are none."""
    found: list[Service] = []
    problems: list[Problem] = []
    hosts: tuple[str, ...] = ()
    for place, words in _entries(file, data, problems.append):
        if len(words) == 1 and words[0].endswith(":"):
            hosts = _hosts(words[0][:-1])
            continue
        try:
            found.append(_Entry(place, words, hosts, machine).service())
        except ValueError as error:
            problems.append(place.problem(str(error)))
    return found, problems


def _entries(
    file: str, data: bytes, report: Callable[[Problem], None]
) -> Iterator[tuple[Location, list[str]]]:
    """Yield the words of each entry. A line that starts with a blank continues the entry."""
    entry: tuple[Location, list[str]] | None = None
    for line in significant(file, data):
        if not line.is_text:
            report(line.place.problem(NO_TEXT))
        elif entry is None or line.text[0] not in " \t":
            if entry is not None:
                yield entry
            entry = line.place, list(line.words)
        elif _is_entry(line):
            text = f"starts with a blank, and so goes on with line {entry[0].line} (openbsd-inetd)"
            report(line.place.problem(f"{text} or is an entry (GNU inetd): take the blank away"))
        else:
            entry[1].extend(line.words)
    if entry is not None:
        yield entry


def _is_entry(line: Line) -> bool:
    """Whether a line could be an entry of its own."""
    return (
        len(line.words) >= LEAST_FIELDS
        and line.words[1] in _SOCKET_TYPES
        and _WAIT.fullmatch(line.words[3]) is not None
    )


def _hosts(text: str) -> tuple[str, ...]:
    """Return the addresses and names before a colon; none of them means every address."""
    hosts = tuple(host.removeprefix("[").removesuffix("]") for host in text.split(",") if host)
    return () if "*" in hosts else hosts


class _Entry:
    """The conversion of one line. Raises ValueError for a line that inetd would not read either."""

    def __init__(
        self, place: Location, words: list[str], hosts: tuple[str, ...], machine: Machine
    ) -> None:
        if words[0].endswith(":"):
            # A blank may separate the addresses from the name.
            words = [words[0] + words[1], *words[2:]] if len(words) > 1 else words
        if len(words) < LEAST_FIELDS:
            raise ValueError(
                f"{words[0]}: an entry has {LEAST_FIELDS} fields or more, and this has "
                f"{len(words)}: name, socket type, protocol, wait or nowait, user, program"
            )
        name, self._socket_type, protocol, wait, self._user, self._program, *argv = words
        self._argv = argv or [os.path.basename(self._program)]
        self._machine = machine
        self._protocol, *self._buffers = protocol.split(",")
        before, colon, after = name.rpartition(":")
        self._name = after if colon else name
        self._hosts = _hosts(before) if colon else hosts
        matched = _WAIT.fullmatch(wait)
        if matched is None:
            raise ValueError(f"{self._name}: {wait} is neither wait nor nowait")
        self._waits, self._most = matched["wait"] == "wait", matched["most"]
        if self._socket_type not in _SOCKET_TYPES:
            raise ValueError(f"{self._name}: {self._socket_type} is no socket type")
        self._inet = _PROTOCOL.fullmatch(self._protocol)
        if self._inet is None and self._protocol != "unix":
            raise ValueError(f"{self._name}: {self._protocol} is no protocol that inetd knows")
        self._is_internal = self._program == "internal"
        self._draft = Draft(place, self._short_name(), machine.has_key)

    def service(self) -> Service:
        """Convert the fields, unless netd has no counterpart of the service."""
        reasons = list(self._reasons_against())
        for reason in reasons:
            self._draft.give_up(reason)
        if not reasons:
            self._listen()
            self._set_buffers()
            self._run()
            self._set_account()
            self._set_rate()
        return self._draft.finished()

    def _reasons_against(self) -> Iterator[str]:
        """Yield the reasons why netd has no counterpart."""
        if self._inet is not None and self._inet["rpc"]:
            yield "it is an RPC service, and netd registers nothing with rpcbind"
        elif self._name.startswith("tcpmux"):
            yield "it belongs to TCPMUX (RFC 1078), which netd does not have"
        elif self._socket_type not in ("stream", "dgram"):
            yield f"netd has streams and datagrams, and its socket type is {self._socket_type}"
        elif self._is_internal:
            if self._inet is None or self._name not in INTERNAL:
                yield f"inetd has no internal service {self._name}/{self._protocol}"
        elif self._socket_type == "dgram" and not self._waits:
            yield "dgram with nowait means that its server takes a datagram and leaves the socket"

    def _short_name(self) -> str:
        if self._inet is None:
            return os.path.basename(self._name)
        return self._name.partition("/")[0] if self._inet["rpc"] else self._name

    # Where it listens.

    def _listen(self) -> None:
        if self._inet is None:
            self._draft.put("listen", [listening.unix(self._socket_type, self._name)])
            return
        transport: Literal["tcp", "udp"] = "tcp" if self._inet["name"] == "tcp" else "udp"
        if (transport == "tcp") != (self._socket_type == "stream"):
            raise ValueError(f"{self._name}: a {transport} service is no {self._socket_type}")
        family = self._inet["family"]
        families = _FAMILIES[family]
        port = self._port(transport)
        descriptions = list(listening.inet(transport, port, families, self._hosts))
        if not descriptions:
            raise ValueError(
                f"{self._name}: {','.join(self._hosts)} is no address of {self._protocol}"
            )
        self._draft.put("listen", [*descriptions])
        if family == "46":
            self._draft.put("socket.IPV6_V6ONLY", False)
        if families == BOTH and not self._hosts:
            self._draft.remark_once(_BOTH_FAMILIES)
        for host in listening.names(self._hosts) if families == BOTH else ():
            self._draft.remark(
                f"inetd takes every address that {host} has, netd its IPv4 address; for an IPv6 "
                f"address add {transport}6:{port}:interface={host}"
            )

    def _port(self, transport: Literal["tcp", "udp"]) -> int:
        if self._name.isdecimal():
            return number(self._name, 1, 65535, "port")
        port = self._machine.port(self._name, transport)
        if port is None:
            self._draft.turn_off(
                f"the port of {self._name} is not known here (services(5)): write it in the "
                f"place of {UNKNOWN}"
            )
        return UNKNOWN if port is None else port

    def _set_buffers(self) -> None:
        for option in self._buffers:
            name, _, value = option.partition("=")
            if name not in _BUFFERS:
                known = " or ".join(f"{known}=SIZE" for known in _BUFFERS)
                raise ValueError(f"{self._name}: {option} is not known here: write {known}")
            self._draft.put(f"socket.{_BUFFERS[name]}", size(value))

    # What it runs.

    def _run(self) -> None:
        if self._is_internal:
            self._draft.put("handler", self._name)
            return
        command, is_renamed = programs.command(self._program, self._argv)
        self._draft.put("program", [*command])
        if is_renamed:
            self._draft.remark(programs.renamed(self._argv[0]))
        if any(mark in argument for argument in self._argv for mark in "\"'\\"):
            self._draft.remark("Quotes and backslashes stand as they are; GNU inetd reads them.")
        if self._waits:
            self._draft.put("wait", True)

    def _set_account(self) -> None:
        if self._is_internal:
            return
        user, colon, group = self._user.partition(":" if ":" in self._user else ".")
        self._draft.put("user", account(user))
        if colon:
            self._draft.put("group", account(group))
        if user != "root":
            self._draft.remark_once(_GROUPS)

    def _set_rate(self) -> None:
        if self._most is None:
            return
        most = number(self._most, 1, None, "number of calls a minute")
        if self._waits:
            self._draft.remark(f"Left out: at most {most} a minute. With wait, it has no use.")
            return
        if self._draft.put("limits.connection_rate", f"{most}/m"):
            self._draft.remark(
                f"netd spreads the {most} over the minute; inetd accepts them immediately, and "
                "shuts the service for ten minutes after more."
            )
