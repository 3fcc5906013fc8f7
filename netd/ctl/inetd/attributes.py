"""The attributes of xinetd.conf(5): how each is written, and its counterpart in netd.

``docs/coming-from-inetd.md`` shows this table, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from netd.ctl.inetd.addresses import elements


def _itself(word: str) -> tuple[str, ...]:
    return (word,)


def _variable(word: str) -> tuple[str, ...]:
    if not word.partition("=")[0] or "=" not in word:
        raise ValueError(f"{word} is no variable: write NAME=VALUE")
    return (word,)


def _one_of(*known: str) -> Callable[[str], tuple[str, ...]]:
    def read(word: str) -> tuple[str, ...]:
        if word not in known:
            raise ValueError(f"{word} is not known here: write any of {', '.join(known)}")
        return (word,)

    return read


@dataclass(frozen=True)
class Attribute:
    """One attribute. Its name and the first two fields are a row of the documentation."""

    becomes: str
    """The key of netd; empty if there is none."""
    note: str = ""
    """How they differ."""
    values: tuple[int, int | None] = (1, 1)
    """Least and most number of values; None for no bound."""
    is_list: bool = False
    """Whether an entry can have it several times, with ``+=`` and ``-=``."""
    in_defaults: bool = False
    """Whether ``defaults`` can have it."""
    is_inherited: bool = False
    """Whether a service starts with the value of the ``defaults`` before it, and changes that. Any
    other attribute of ``defaults`` applies to services that do not have it."""
    only_in_defaults: bool = False
    read: Callable[[str], tuple[str, ...]] = _itself
    """Reads one value; returns what it stands for, or raises ValueError."""


SOME: Final = (1, None)
ANY: Final = (0, None)

_OFF: Final = "the service is off"

_YES_NO: Final = _one_of("yes", "no")
_ON_SUCCESS: Final = _one_of("PID", "HOST", "USERID", "EXIT", "DURATION", "TRAFFIC")
_ON_FAILURE: Final = _one_of("HOST", "USERID", "ATTEMPT", "RECORD")
_TYPES: Final = _one_of("RPC", "INTERNAL", "UNLISTED", "TCPMUX", "TCPMUXPLUS")
_SOCKET_TYPES: Final = _one_of("stream", "dgram", "raw", "rdm", "seqpacket")
_FLAGS: Final = _one_of(
    "REUSE",
    "INTERCEPT",
    "NORETRY",
    "IDONLY",
    "NAMEINARGS",
    "NODELAY",
    "KEEPALIVE",
    "NOLIBWRAP",
    "SENSOR",
    "IPv4",
    "IPv6",
    "LABELED",
    "DISABLE",
)

_LIMIT: Final = "`unlimited` for UNLIMITED"

ATTRIBUTES: Final[dict[str, Attribute]] = {
    "id": Attribute("`[services.NAME]`", "the service's name where there is none"),
    "type": Attribute(
        "`handler` for INTERNAL",
        "echo, discard, chargen, daytime and time; RPC and TCPMUX services are left out",
        values=SOME,
        read=_TYPES,
    ),
    "flags": Attribute(
        "`[socket]`, `listen`, `program`",
        "NODELAY, KEEPALIVE; IPv4, IPv6; NAMEINARGS. With IDONLY or LABELED "
        f"{_OFF}; a SENSOR is left out, see `[penalties]`",
        values=SOME,
        read=_FLAGS,
    ),
    "disable": Attribute("`enabled = false`", read=_YES_NO),
    "socket_type": Attribute(
        "`listen`", "stream is `tcp:`, dgram `udp:`; others are left out", read=_SOCKET_TYPES
    ),
    "protocol": Attribute("`listen`", "tcp and udp"),
    "port": Attribute(
        "`listen`",
        "looked up in services(5) where there is none; any other than there needs UNLISTED",
    ),
    "bind": Attribute("`listen`", "`:interface=ADDRESS`", in_defaults=True),
    "interface": Attribute("`listen`", "as `bind`", in_defaults=True),
    "v6only": Attribute(
        "`listen`",
        "without `yes` or the flag IPv4, xinetd listens by both families: `tcp:` and `tcp6:`",
        in_defaults=True,
        read=_YES_NO,
    ),
    "wait": Attribute(
        "`wait`", "of programs; one process for each address in `listen`", read=_YES_NO
    ),
    "server": Attribute("`program`"),
    "server_args": Attribute("`program`", values=SOME),
    "user": Attribute("`user`", "not for INTERNAL, where xinetd ignores it"),
    "group": Attribute("`group`", "not for INTERNAL, where xinetd ignores it"),
    "groups": Attribute(
        "", "a program has no supplementary groups", in_defaults=True, read=_YES_NO
    ),
    "umask": Attribute("`umask`", in_defaults=True),
    "nice": Attribute("`nice`"),
    "env": Attribute("`environment`", values=ANY, is_list=True, read=_variable),
    "passenv": Attribute("", values=ANY, is_list=True, in_defaults=True, is_inherited=True),
    "rlimit_as": Attribute("`rlimits.RLIMIT_AS`", _LIMIT),
    "rlimit_cpu": Attribute("`rlimits.RLIMIT_CPU`", _LIMIT),
    "rlimit_data": Attribute("`rlimits.RLIMIT_DATA`", _LIMIT),
    "rlimit_files": Attribute("`rlimits.RLIMIT_NOFILE`", _LIMIT),
    "rlimit_rss": Attribute("`rlimits.RLIMIT_RSS`", _LIMIT),
    "rlimit_stack": Attribute("`rlimits.RLIMIT_STACK`", _LIMIT),
    "only_from": Attribute(
        "`access.allow`",
        "of a host name, netd takes the addresses; a `.domain` is left out. "
        f"With `wait = yes` {_OFF}",
        values=ANY,
        is_list=True,
        in_defaults=True,
        is_inherited=True,
        read=elements,
    ),
    "no_access": Attribute(
        "`access.deny`",
        f"with a name, or `wait = yes`, {_OFF}",
        values=ANY,
        is_list=True,
        in_defaults=True,
        is_inherited=True,
        read=elements,
    ),
    "access_times": Attribute(
        "`access.hours`",
        f"every day; xinetd's last minute counts whole. With `wait = yes` {_OFF}",
        values=SOME,
    ),
    "instances": Attribute(
        "`limits.connections`",
        "more clients wait in the backlog; xinetd turns them away",
        in_defaults=True,
    ),
    "per_source": Attribute("`limits.connections_per_source`", in_defaults=True),
    "cps": Attribute(
        "`limits.connection_rate`",
        "xinetd's second number, how long it shuts the service for everybody, has no counterpart; "
        "nor has its default of 50 connections a second",
        values=(2, 2),
        in_defaults=True,
    ),
    "max_load": Attribute("", in_defaults=True),
    "redirect": Attribute("", "such a service is left out", values=(2, 2)),
    "banner": Attribute("", in_defaults=True),
    "banner_success": Attribute("", in_defaults=True),
    "banner_fail": Attribute("", in_defaults=True),
    "log_type": Attribute(
        "",
        "netd has one log, see `[log]`",
        values=SOME,
        is_list=True,
        in_defaults=True,
    ),
    "log_on_success": Attribute(
        "",
        "netd's log has a line for every connection",
        values=ANY,
        is_list=True,
        in_defaults=True,
        is_inherited=True,
        read=_ON_SUCCESS,
    ),
    "log_on_failure": Attribute(
        "",
        "netd's log has a line for every refusal",
        values=ANY,
        is_list=True,
        in_defaults=True,
        is_inherited=True,
        read=_ON_FAILURE,
    ),
    "deny_time": Attribute("", "see `[penalties]`"),
    "libwrap": Attribute("", f"netd asks no hosts_access(5); where this machine has rules, {_OFF}"),
    "rpc_version": Attribute("", "RPC services are left out"),
    "rpc_number": Attribute("", "RPC services are left out"),
    "mdns": Attribute("", "nor has xinetd on Linux", read=_YES_NO),
    "enabled": Attribute(
        "`enabled`",
        "false for every service that is not in it",
        values=ANY,
        is_list=True,
        in_defaults=True,
        only_in_defaults=True,
    ),
    "disabled": Attribute(
        "`enabled = false`",
        values=ANY,
        is_list=True,
        in_defaults=True,
        only_in_defaults=True,
    ),
}
"""By name, in the order of the documentation."""
