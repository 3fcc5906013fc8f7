"""Listeners that one daemon hands to the next, by name, over an exec (an upgrade in place).

The descriptors keep their numbers; what each is for stands as JSON in an environment variable,
which the next daemon, perhaps of another version, reads with suspicion and takes away.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from netd.listening.binding import Listener, Listeners
from netd.listening.options.apply import set_option
from netd.listening.options.table import OPTIONS
from netd.listening.unix_path import unlink_at_close
from netd.model.address import Address, InetAddress, PassedAddress, Transport, UnixAddress
from netd.model.socket_options import SetOption

VARIABLE: Final = "NETD_HANDOVER"


@dataclass(frozen=True)
class Handover:
    """What comes from the daemon before."""

    listeners: Listeners
    channel: int
    """A descriptor of a stream to the daemon before; the caller closes it."""
    suspended: frozenset[str]
    """The services that are to take nobody."""


def variable(listeners: Iterable[Listener], channel: int, suspended: Iterable[str]) -> str:
    """Write what *listeners* are, by which descriptor the new daemon is heard, and who waits."""
    return json.dumps(
        {
            "channel": channel,
            "listeners": [_written(one) for one in listeners],
            "suspended": sorted(suspended),
        }
    )


LEAVE: Final = b"leave"
"""The line that the daemon before says to one that it does not want any more."""


def ready(unused: Iterable[Listener]) -> bytes:
    """The line that the new daemon says when it serves, with the descriptors that it does not."""
    return " ".join(["ready", *(str(one.socket.fileno()) for one in unused)]).encode()


def unused_by(line: bytes) -> frozenset[int]:
    """The descriptors in such a line. Raises ValueError for any other."""
    word, *unused = line.split() or [b""]
    if word != b"ready":
        raise ValueError(f"it said {line!r}")
    return frozenset(map(int, unused))


def _written(listener: Listener) -> dict[str, Any]:
    address = listener.address
    where: dict[str, Any]
    if isinstance(address, PassedAddress):
        where = {"passed": address.name, "number": address.number}
    elif isinstance(address, InetAddress):
        where = {"port": address.port, "interface": address.interface}
    else:
        where = {"path": address.path, "mode": address.mode}
        where |= {"user": address.user, "group": address.group, "tls": address.is_tls}
    return {
        "service": listener.service,
        "index": listener.index,
        "transport": address.transport.value,
        "descriptor": listener.socket.fileno(),
        "options": [_option_written(option) for option in listener.options],
        **where,
    }


def _option_written(option: SetOption) -> dict[str, Any]:
    values = [one if isinstance(one, int) else one.hex() for one in option.values]
    return {"name": option.name, "values": values}


def _options_read(written: Iterable[dict[str, Any]]) -> tuple[SetOption, ...]:
    """The options that a socket has, as far as this netd knows them."""
    return tuple(
        set_option(
            OPTIONS[one["name"]],
            tuple(bytes.fromhex(it) if isinstance(it, str) else int(it) for it in one["values"]),
        )
        for one in written
        if one["name"] in OPTIONS
    )


def received(environment: MutableMapping[str, str]) -> Handover | None:
    """Take what the daemon before has handed over out of *environment*; None if there is nothing.

    Raises ValueError when it cannot be understood, with all descriptors as they were.
    """
    text = environment.pop(VARIABLE, None)
    if text is None:
        return None
    try:
        values = json.loads(text)
        channel = int(values["channel"])
        os.set_inheritable(channel, False)
        suspended = frozenset(map(str, values["suspended"]))
        return Handover(Listeners([_read(one) for one in values["listeners"]]), channel, suspended)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{VARIABLE} makes no sense: {type(error).__name__}: {error}") from error


def _read(values: dict[str, Any]) -> Listener:
    transport = Transport(values["transport"])
    descriptor = int(values["descriptor"])
    os.set_inheritable(descriptor, False)
    undo = ExitStack()
    sock = undo.enter_context(socket.socket(transport.family, transport.type, fileno=descriptor))
    address = _address(transport, values)
    inode = None
    if isinstance(address, UnixAddress) and not address.is_abstract:
        inode = unlink_at_close(address.path, undo)
    name, index = str(values["service"]), int(values["index"])
    options = _options_read(values.get("options", ()))
    return Listener(name, index, address, sock, inode=inode, options=options, undo=undo)


def _address(transport: Transport, values: dict[str, Any]) -> Address:
    if "passed" in values:
        return PassedAddress(str(values["passed"]), transport, int(values["number"]))
    if not transport.is_unix:
        return InetAddress(transport, int(values["port"]), str(values["interface"]))
    user, group = values["user"], values["group"]
    path, mode = str(values["path"]), int(values["mode"])
    # A daemon that had no TLS handed nothing over about it.
    return UnixAddress(transport, path, mode, user, group, bool(values.get("tls", False)))
