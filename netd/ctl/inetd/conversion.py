"""From an entry of xinetd to a service of netd.

If a restriction has no counterpart, the service is off, and a comment says why.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final, Literal

from netd.ctl.inetd import listening, programs
from netd.ctl.inetd.converters import CONVERTERS, Context
from netd.ctl.inetd.draft import Draft, Service
from netd.ctl.inetd.listening import BOTH, UNKNOWN, Families
from netd.ctl.inetd.machine import Machine
from netd.ctl.inetd.values import INTERNAL, number
from netd.ctl.inetd.xinetd import Entry
from netd.model.problem import Problem

_TRANSPORTS: Final[dict[str, Literal["tcp", "udp"]]] = {"stream": "tcp", "dgram": "udp"}

_WRAPPERS: Final = (
    "xinetd asks the rules of hosts_access(5) about every client, unless a service has the flag "
    "NOLIBWRAP; netd does not."
)

_RESTRICTING: Final = {
    "IDONLY": "lets in only whom ident (RFC 1413) names, and netd does not ask it",
    "LABELED": "gives the server the SELinux context of its client, and netd does not",
}
"""Flags that refuse clients, and what is lost without them."""


def converted(entry: Entry, machine: Machine) -> tuple[Service, list[Problem]]:
    """Return the service for *entry*, and the problems beyond those of its syntax."""
    conversion = _Conversion(entry, machine)
    return conversion.service(), conversion.problems


class _Conversion:
    """The conversion of one entry."""

    def __init__(self, entry: Entry, machine: Machine) -> None:
        self.problems: list[Problem] = []
        self._entry = entry
        self._machine = machine
        self._types = self._words("type")
        self._flags = self._words("flags")
        self._draft = Draft(entry.place, entry.identity, machine.has_key)
        self._is_internal = "INTERNAL" in self._types
        self._socket_type, self._protocol = self._socket()
        # xinetd requires the attribute. Without it, a datagram service most likely waits.
        wait = self._word("wait") or ("yes" if self._socket_type == "dgram" else "no")
        self._waits = wait == "yes" and not self._is_internal

    def service(self) -> Service:
        """Convert the parts in order: a later one depends on the decisions of earlier ones."""
        if self._entry.is_off:
            self._draft.disable()
        for problem in self._entry.problems:
            self._draft.turn_off(f"it has a problem: {problem.message}")
        reasons = list(self._reasons_against())
        if reasons:
            for reason in reasons:
                self._draft.give_up(reason)
            return self._draft.finished()
        self._check_complete()
        self._listen()
        self._run()
        self._set_flags()
        self._ask_wrappers()
        self._convert_others()
        return self._draft.finished()

    # What the entry says.

    def _words(self, name: str) -> tuple[str, ...]:
        values = self._entry.attributes.get(name)
        return () if values is None else values.words

    def _word(self, name: str) -> str:
        """Return the one value of an attribute; empty if the entry does not have it."""
        return next(iter(self._words(name)), "")

    def _socket(self) -> tuple[str, str]:
        """Return socket type and protocol; if one is missing, it follows from the other."""
        socket_type, protocol = self._word("socket_type"), self._word("protocol")
        if not socket_type:
            socket_type = next((kind for kind in _TRANSPORTS if _TRANSPORTS[kind] == protocol), "")
        return socket_type, protocol or _TRANSPORTS.get(socket_type, "")

    # Whether netd has anything like it.

    def _reasons_against(self) -> Iterator[str]:
        if "RPC" in self._types:
            yield "it is an RPC service, and netd registers nothing with rpcbind"
        if {"TCPMUX", "TCPMUXPLUS"} & set(self._types):
            yield "it is reached by TCPMUX (RFC 1078), which netd does not have"
        if "SENSOR" in self._flags:
            yield "it is a sensor, which shuts its clients out everywhere: see [penalties]"
        elif self._word("redirect"):
            host, port = self._words("redirect")
            yield f"it redirects to {host} port {port}: run a proxy, such as systemd-socket-proxyd"
        elif self._is_internal:
            yield from self._unknown_internal()
        yield from self._other_sockets()

    def _unknown_internal(self) -> Iterator[str]:
        if self._entry.name not in INTERNAL:
            yield (
                f"the service {self._entry.name} is a part of xinetd"
                if self._entry.name in ("services", "servers", "tcpmux")
                else f"xinetd has no internal service {self._entry.name}"
            )

    def _other_sockets(self) -> Iterator[str]:
        if not self._socket_type:
            yield "it has no socket_type"
        elif self._socket_type not in _TRANSPORTS:
            yield f"netd has streams and datagrams, and its socket_type is {self._socket_type}"
        elif self._protocol != _TRANSPORTS[self._socket_type]:
            yield f"netd has no {self._socket_type} service of protocol {self._protocol}"
        elif self._socket_type == "dgram" and not (self._waits or self._is_internal):
            yield "wait = no means that its server takes a datagram and leaves the socket to xinetd"
        if not (self._is_internal or self._word("server") or self._word("redirect")):
            yield "it has no server"

    def _check_complete(self) -> None:
        needed = ["wait"] if self._is_internal else ["user", "wait"]
        if "NAMEINARGS" in self._flags:
            needed.append("server_args")
        for name in needed:
            if name not in self._entry.attributes:
                self._broken(f"it has no {name}, without which xinetd does not offer it")

    def _broken(self, why: str) -> None:
        """Turn the service off, and report a problem: xinetd itself would refuse the entry."""
        self._draft.turn_off(why)
        if not self._entry.is_off:
            self.problems.append(self._entry.place.problem(f"{self._entry.name}: {why}"))

    # Where it listens.

    def _listen(self) -> None:
        transport = _TRANSPORTS[self._socket_type]
        families, hosts = self._families(), self._hosts()
        if hosts and listening.is_every(hosts[0]):
            families, hosts = (families if ":" in hosts[0] else (4,)), ()
        descriptions = list(listening.inet(transport, self._port(transport), families, hosts))
        if not descriptions:
            self._broken(f"bind = {hosts[0]} is of another family than its flags ask for")
            descriptions = list(listening.inet(transport, UNKNOWN, families, ()))
        if self._waits and len(descriptions) > 1:
            self._draft.remark(
                "netd runs one server for each address in listen, xinetd one for both families."
            )
        self._draft.put("listen", [*descriptions])

    def _families(self) -> Families:
        if "IPv4" in self._flags and "IPv6" not in self._flags:
            return (4,)
        return (6,) if self._word("v6only") == "yes" else BOTH

    def _hosts(self) -> tuple[str, ...]:
        host = self._word("bind")
        if listening.names([host]) and host:
            if re.fullmatch(r"[\d.]+|.*:.*", host, re.ASCII):
                self._broken(f"bind = {host} is no address")
                return ()
            if "IPv4" not in self._flags and "IPv6" not in self._flags:
                self._draft.remark(
                    f"xinetd takes whatever address {host} has, netd its IPv4 address; for an "
                    f"IPv6 address write {_TRANSPORTS[self._socket_type]}6:"
                )
        return (host,) if host else ()

    def _port(self, transport: Literal["tcp", "udp"]) -> int:
        name = self._entry.name
        listed = None if "UNLISTED" in self._types else self._machine.port(name, transport)
        if "port" in self._entry.attributes:
            return self._own_port(listed)
        if listed is None:
            self._draft.turn_off(
                f"the port of {name} is not known here (services(5)): write it in the place of "
                f"{UNKNOWN}"
            )
        return UNKNOWN if listed is None else listed

    def _own_port(self, listed: int | None) -> int:
        """Return the port of the entry; without UNLISTED, it must be the *listed* one."""
        try:
            port = number(self._word("port"), 1, 65535, "port")
        except ValueError as error:
            self._broken(str(error))
            return UNKNOWN
        if "UNLISTED" not in self._types and port != listed:
            self._draft.turn_off(
                f"services(5) has no {self._entry.name} on port {port} here, and xinetd does not "
                "offer it then unless its type is UNLISTED"
            )
        return port

    # What it runs.

    def _run(self) -> None:
        if self._is_internal:
            self._draft.put("handler", self._entry.name)
            return
        server, arguments = self._word("server"), self._words("server_args")
        argv = (os.path.basename(server), *arguments)
        if "NAMEINARGS" in self._flags:
            argv = arguments or argv
        command, is_renamed = programs.command(server, argv)
        self._draft.put("program", [*command])
        if is_renamed:
            self._draft.remark(programs.renamed(argv[0]))
        if self._waits:
            self._draft.put("wait", True)

    def _set_flags(self) -> None:
        if self._socket_type == "stream":
            if "NODELAY" in self._flags:
                self._draft.put("socket.TCP_NODELAY", True)
            if "KEEPALIVE" in self._flags:
                self._draft.put("socket.SO_KEEPALIVE", True)
        for flag, why in _RESTRICTING.items():
            if flag in self._flags:
                self._draft.turn_off(f"the flag {flag} {why}")
        for flag in ("INTERCEPT", "NORETRY"):
            if flag in self._flags:
                self._draft.remark(f"Left out: the flag {flag}.")

    def _ask_wrappers(self) -> None:
        if "NOLIBWRAP" in self._flags:
            return
        self._draft.remark_once(_WRAPPERS)
        files = self._machine.wrapper_rules()
        if files:
            self._draft.turn_off(
                f"xinetd asks the rules in {' and '.join(files)} about its clients (see "
                "hosts_access(5)), and netd does not: put what they say into access"
            )

    def _convert_others(self) -> None:
        context = Context(
            draft=self._draft,
            machine=self._machine,
            is_internal=self._is_internal,
            waits=self._waits,
            has_group="group" in self._entry.attributes,
        )
        for name, values in self._entry.attributes.items():
            convert = CONVERTERS.get(name)
            try:
                if convert is not None:
                    convert(context, values)
            except ValueError as error:
                message = f"{name}: {error}"
                self._draft.turn_off(f"it has a problem: {message}")
                self.problems.append(values.place.problem(message))
