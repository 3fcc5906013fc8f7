"""From one attribute of xinetd to keys of netd, for attributes that convert independently.

Each function gets the attribute's values, and raises ValueError for a problem with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from netd.ctl.inetd.addresses import EVERY_IPV4, by_zeros, has_every_ipv4, is_network, shown
from netd.ctl.inetd.draft import Draft
from netd.ctl.inetd.machine import Machine
from netd.ctl.inetd.values import account, number, size
from netd.ctl.inetd.xinetd import Values

_UNLIMITED: Final = "UNLIMITED"
_BY_NAME: Final = (
    "Of a host name in allow, netd takes the addresses when it reads the file; xinetd asks for the "
    "name of each client."
)
_TIMES: Final = re.compile(r"(\d{1,2}):(\d{1,2})-(\d{1,2}):(\d{1,2})", re.ASCII)


@dataclass(frozen=True)
class Context:
    """What the conversion of an attribute may depend on besides its own values."""

    draft: Draft
    machine: Machine
    is_internal: bool
    waits: bool
    """Whether a program gets the listening socket, so that netd never sees a client."""
    has_group: bool
    """Whether the entry has a group, too."""


Convert = Callable[[Context, Values], None]


def _user(context: Context, values: Values) -> None:
    if context.is_internal:
        return
    user = account(values.words[0])
    context.draft.put("user", user)
    if isinstance(user, int) and not context.has_group:
        # To xinetd, a user by number has the group of that number.
        context.draft.put("group", user)


def _group(context: Context, values: Values) -> None:
    if not context.is_internal:
        context.draft.put("group", account(values.words[0]))


def _groups(context: Context, values: Values) -> None:
    if values.words[0] == "yes" and not context.is_internal:
        context.draft.remark("Left out: groups = yes. It has no supplementary groups here.")


def _umask(context: Context, values: Values) -> None:
    if re.fullmatch("[0-7]{1,4}", values.words[0]) is None or int(values.words[0], 8) > 0o777:
        raise ValueError(f"{values.words[0]} is not octal from 000 to 777")
    context.draft.put("umask", f"{int(values.words[0], 8):03o}")


def _nice(context: Context, values: Values) -> None:
    context.draft.put("nice", number(values.words[0], -20, 19, "nice value"))


def _env(context: Context, values: Values) -> None:
    if values.words:
        variables = dict(word.split("=", 1) for word in values.words)
        context.draft.put("environment", {**variables})


def _rlimit(name: str) -> Convert:
    def convert(context: Context, values: Values) -> None:
        value = "unlimited" if values.words[0] == _UNLIMITED else size(values.words[0])
        context.draft.put(f"rlimits.{name}", value)

    return convert


def _only_from(context: Context, values: Values) -> None:
    if context.waits:
        context.draft.turn_off(_unseen("only_from", values))
        return
    allowed, names = _parted(context, values)
    for word in names:
        if word.startswith(".") or word == "unix":
            context.draft.remark(
                f"Left out of allow: {word}. netd asks for no client's name: write networks."
            )
        else:
            allowed.append(word)
            context.draft.remark_once(_BY_NAME)
    context.draft.put("access.allow", [*allowed])


def _no_access(context: Context, values: Values) -> None:
    if not values.words:
        return
    if context.waits:
        context.draft.turn_off(_unseen("no_access", values))
        return
    denied, names = _parted(context, values)
    for word in names:
        context.draft.turn_off(
            f"no_access has {word}, and netd asks for no client's name: write networks"
        )
    if denied:
        context.draft.put("access.deny", [*denied])


def _parted(context: Context, values: Values) -> tuple[list[str], list[str]]:
    """Split a list into networks, which netd can match, and names of clients."""
    networks, names = [], []
    for word in values.words:
        named = None if is_network(word) else context.machine.network(word)
        if named is not None:
            context.draft.remark(f"{word} is the network {named} in networks(5).")
            networks += _networks(by_zeros(named))
        elif is_network(word):
            networks += _networks(word)
        else:
            names.append(word)
    return networks, names


def _networks(network: str) -> list[str]:
    # xinetd's socket serves both families, so IPv4 clients have IPv6 addresses there, and ::/0
    # admits them, too.
    return [shown(network), *([EVERY_IPV4] if has_every_ipv4(network) else [])]


def _unseen(name: str, values: Values) -> str:
    listed = " ".join(map(_readable, values.words))
    return (
        f"with wait = yes its server takes the clients, and netd cannot ask whether they are "
        f"among {name} = {listed}"
    )


def _readable(element: str) -> str:
    return shown(element) if is_network(element) else element


def _access_times(context: Context, values: Values) -> None:
    hours = [f"Mon-Sun {_interval(word)}" for word in values.words]
    if context.waits:
        context.draft.turn_off(_unseen("access_times", values))
    else:
        context.draft.put("access.hours", [*hours])


def _interval(text: str) -> str:
    match = _TIMES.fullmatch(text)
    if match is None:
        raise ValueError(f"{text} is no time interval, which is like 8:00-18:30")
    first, second, third, fourth = (int(part) for part in match.groups())
    start, end = 60 * first + second, 60 * third + fourth
    if max(first, third) > 23 or max(second, fourth) > 59 or start >= end:
        raise ValueError(f"{text} is no interval of one day, from 0:00 to 23:59")
    return f"{first:02}:{second:02}-{third:02}:{fourth:02}"


def _limit(key: str) -> Convert:
    """Return the converter of an attribute that limits a number of concurrent connections."""

    def convert(context: Context, values: Values) -> None:
        if values.words[0] == _UNLIMITED:
            return
        most = number(values.words[0], 0, None, "number")
        if context.waits:
            context.draft.remark(f"Left out: {most} for {key}. With wait = yes, it has one server.")
        elif most == 0:
            context.draft.turn_off(f"with 0 for {key}, xinetd admits no client")
        else:
            context.draft.put(f"limits.{key}", most)

    return convert


def _cps(context: Context, values: Values) -> None:
    most = number(values.words[0], 0, None, "number of connections")
    seconds = number(values.words[1], 0, None, "number of seconds")
    if most == 0:
        return
    if context.waits:
        context.draft.remark(f"Left out: cps = {most} {seconds}. With wait = yes, it has no use.")
        return
    if context.draft.put("limits.connection_rate", f"{most}/s"):
        context.draft.remark(
            f"Left out: the {seconds} s for which xinetd shuts the service after too many "
            "connections."
        )


def _left_out(name: str, instead: str = "") -> Convert:
    def convert(context: Context, values: Values) -> None:
        said = " ".join((name, "=", *values.words))
        if values.is_default:
            context.draft.remark_once(f"Left out of the defaults: {said}. {instead}".rstrip())
        else:
            context.draft.remark(f"Left out: {said}. {instead}".rstrip())

    return convert


CONVERTERS: Final[dict[str, Convert]] = {
    "user": _user,
    "group": _group,
    "groups": _groups,
    "umask": _umask,
    "nice": _nice,
    "env": _env,
    "passenv": _left_out("passenv", "A program has netd's environment."),
    "rlimit_as": _rlimit("RLIMIT_AS"),
    "rlimit_cpu": _rlimit("RLIMIT_CPU"),
    "rlimit_data": _rlimit("RLIMIT_DATA"),
    "rlimit_files": _rlimit("RLIMIT_NOFILE"),
    "rlimit_rss": _rlimit("RLIMIT_RSS"),
    "rlimit_stack": _rlimit("RLIMIT_STACK"),
    "only_from": _only_from,
    "no_access": _no_access,
    "access_times": _access_times,
    "instances": _limit("connections"),
    "per_source": _limit("connections_per_source"),
    "cps": _cps,
    "max_load": _left_out("max_load"),
    "banner": _left_out("banner"),
    "banner_success": _left_out("banner_success"),
    "banner_fail": _left_out("banner_fail"),
    "log_type": _left_out("log_type", "netd has one log, see [log]."),
    "log_on_success": _left_out("log_on_success", "netd logs every connection."),
    "log_on_failure": _left_out("log_on_failure", "netd logs every refusal."),
    "deny_time": _left_out("deny_time"),
    "libwrap": _left_out("libwrap", "netd asks no hosts_access(5)."),
    "rpc_version": _left_out("rpc_version"),
    "rpc_number": _left_out("rpc_number"),
    "mdns": _left_out("mdns"),
}
"""By attribute. The missing ones only have a meaning together: where a service listens, and what it
runs. ``conversion`` converts them."""
