"""Listeners that one daemon hands over to the next, over an exec (an upgrade in place).

The descriptors keep their numbers. An environment variable says as JSON what each is for. The next
daemon may be another version of netd: so it checks what it reads, and ignores options that it does
not know.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from netd.listening.listener import Listener, Listeners
from netd.listening.options.apply import set_option
from netd.listening.options.table import OPTIONS
from netd.listening.unix_path import unlink_at_close
from netd.model.address import Address, InetAddress, PassedAddress, Transport, UnixAddress
from netd.model.socket_options import SetOption

VARIABLE: Final = "NETD_HANDOVER"

_Json: TypeAlias = dict[str, Any]
"""An object as ``json`` writes and reads it; another version may have put anything into it."""


@dataclass(frozen=True)
class Handover:
    """What the predecessor hands over."""

    listeners: Listeners
    channel: int
    """A descriptor of a stream to the predecessor; the caller closes it."""
    suspended: frozenset[str]
    """The services that do not accept."""


def variable(listeners: Iterable[Listener], channel: int, suspended: Iterable[str]) -> str:
    """Write *listeners*, the descriptor of the stream to the successor, and what is suspended."""
    return json.dumps(
        {
            "channel": channel,
            "listeners": [_listener_json(one) for one in listeners],
            "suspended": sorted(suspended),
        }
    )


LEAVE: Final = b"leave"
"""The line by which the predecessor cancels the upgrade: its successor must exit."""


def ready(unused: Iterable[Listener]) -> bytes:
    """The successor's line when it serves: the descriptors that it does not use follow."""
    return " ".join(["ready", *(str(one.socket.fileno()) for one in unused)]).encode()


def unused_by(line: bytes) -> frozenset[int]:
    """The unused descriptors in a ``ready`` line. Raises ValueError for any other line."""
    word, *unused = line.split() or [b""]
    if word != b"ready":
        raise ValueError(f"unexpected line {line!r}")
    return frozenset(map(int, unused))


def _listener_json(listener: Listener) -> _Json:
    address = listener.address
    where: _Json
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
        # A reload compares them with what a service wants, and sets only what has changed.
        "options": [_option_json(option) for option in listener.options],
        **where,
    }


def _option_json(option: SetOption) -> _Json:
    # JSON has no bytes; a text is their hexadecimal form.
    values = [one if isinstance(one, int) else one.hex() for one in option.values]
    return {"name": option.name, "values": values}


def _options_of(written: Iterable[_Json]) -> tuple[SetOption, ...]:
    """The options that are set on a socket, without those that this version does not know."""
    return tuple(
        set_option(
            OPTIONS[one["name"]],
            tuple(bytes.fromhex(it) if isinstance(it, str) else int(it) for it in one["values"]),
        )
        for one in written
        if one["name"] in OPTIONS
    )


def received(environment: MutableMapping[str, str]) -> Handover | None:
    """Read and remove the handover from *environment*; None if there is none.

    Raises ValueError if it cannot be read; no descriptor is closed then.
    """
    text = environment.pop(VARIABLE, None)
    if text is None:
        return None
    try:
        values = json.loads(text)
        channel = int(values["channel"])
        # What has to survive an exec is inheritable, and workers must not inherit it.
        os.set_inheritable(channel, False)
        suspended = frozenset(map(str, values["suspended"]))
        return Handover(
            Listeners([_listener(one) for one in values["listeners"]]), channel, suspended
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{VARIABLE} cannot be read: {type(error).__name__}: {error}") from error


def _listener(values: _Json) -> Listener:
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
    options = _options_of(values.get("options", ()))
    return Listener(name, index, address, sock, inode=inode, options=options, undo=undo)


def _address(transport: Transport, values: _Json) -> Address:
    if "passed" in values:
        return PassedAddress(str(values["passed"]), transport, int(values["number"]))
    if not transport.is_unix:
        return InetAddress(transport, int(values["port"]), str(values["interface"]))
    user, group = values["user"], values["group"]
    path, mode = str(values["path"]), int(values["mode"])
    # The first versions of netd had no TLS, and did not write this.
    return UnixAddress(transport, path, mode, user, group, bool(values.get("tls", False)))
