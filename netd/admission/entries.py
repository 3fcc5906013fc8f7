"""One entry of an ``allow`` or ``deny`` list, from what an operator writes to canonical form.

Entries are made canonical when the configuration is read, so names are looked up once, and two
configurations with the same meaning are equal: a reload then changes nothing.
"""

from __future__ import annotations

import grp
import json
import pwd
import re
import socket
from collections.abc import Callable, Sequence
from typing import Final

from netd.admission.lists import CERTIFICATE
from netd.admission.networks import Unreadable, network, packed
from netd.tls.names import WILDCARD
from netd.tls.names import canonical as canonical_name

_FORMS: Final = (
    'an address or network ("10.0.0.0/8", "::1"), a host name, "unix", "uid:1000", "user:alice",'
    ' "gid:100", "group:staff" or "certificate:client.example"'
)
_NO_SCOPE: Final = "a rule has no scope id, since it applies on every link"
_LARGEST_ID: Final = 2**32 - 2
"""The next number, -1 as a C int, is not an id: chown(2) reads it as "leave unchanged"."""
_HOST_NAME: Final = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?", re.ASCII)
_URI: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:[\x21-\x7e]+")
"""A scheme and any visible characters (RFC 3986, 3). The URI is compared, and never fetched."""
_ENDS_IN_NUMBER: Final = re.compile(r"(\S*\.)?([0-9]+|0[xX][0-9a-fA-F]*)\.?")
_AddressInfo = Sequence[
    tuple[
        socket.AddressFamily,
        socket.SocketKind,
        int,
        str,
        tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
    ]
]
"""What ``socket.getaddrinfo`` returns."""
_RESOLVER_CODES: Final = {
    getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")
}


def canonical(entry: str) -> tuple[str, ...]:
    """Read an entry as networks, ``unix``, ``uid:N``, ``gid:N`` or ``certificate:NAME``.

    Host names are looked up here by the system's resolver, users and groups in the system's
    databases. Raises ValueError that says what is wrong and what is valid.
    """
    try:
        number, length = network(entry)
    except Unreadable:
        return _named(entry)
    except ValueError as error:
        raise ValueError(f"{_quoted(entry)}: {error}") from None
    text = _network_text(number, length)
    # Not masked silently: 10.0.0.1/8 may be meant as the network or as the host.
    if _masked(number, length) != number:
        better = _network_text(_masked(number, length), length)
        raise ValueError(
            f"{_quoted(entry)} has host bits set;"
            f' write "{better}" or "{_network_text(number, 8 * len(number))}"'
        )
    return (text,)


def _named(entry: str) -> tuple[str, ...]:
    if entry == "unix":
        return (entry,)
    kind, colon, name = entry.partition(":")
    if colon and kind in _PEERS:
        try:
            return (_PEERS[kind](name),)
        except ValueError as error:
            raise ValueError(f"{_quoted(entry)}: {error}") from None
    if _ENDS_IN_NUMBER.fullmatch(entry):
        # The resolver reads "10.1" as 10.0.0.1 and "010.0.0.1" as 8.0.0.1 (inet_aton(3)), which
        # an operator hardly means.
        raise ValueError(
            f"{_quoted(entry)} is not an IPv4 address; write four numbers from 0 to 255"
            " without leading zeros"
        )
    if _HOST_NAME.fullmatch(entry):
        return _looked_up(entry)
    raise ValueError(_refusal(entry))


def resolved(name: str, found: _AddressInfo) -> tuple[str, ...]:
    """All addresses of a host, from what ``socket.getaddrinfo`` has *found*.

    Raises ValueError for a link-local address, which is another host on another link.
    """
    for *_, address in found:
        if len(address) == 4 and address[3]:
            raise ValueError(f"{_quoted(name)} is {address[0]} on one link only; {_NO_SCOPE}")
    # Sorted, since a resolver that rotates its answers must not look like a changed file.
    numbers = sorted({packed(str(address[0])) for *_, address in found}, key=lambda n: (len(n), n))
    return tuple(_network_text(number, 8 * len(number)) for number in numbers)


def _looked_up(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        code = _RESOLVER_CODES.get(error.errno, "unknown code")
        raise ValueError(f"{_quoted(name)}: {code} ({error.errno}) {error.strerror}") from None
    except OSError as error:  # Python raises the errno behind EAI_SYSTEM
        raise ValueError(f"{_quoted(name)}: EAI_SYSTEM, {error}") from None
    return resolved(name, found)


def _refusal(entry: str) -> str:
    """The message for an entry of no known form: the likeliest mistake, if there is one."""
    host, percent, scope = entry.partition("%")
    if percent and _is_address(host):
        return f"{_quoted(entry)}: {_NO_SCOPE}; write {_quoted(host + _with_slash(scope))}"
    name, slash, _ = entry.partition("/")
    if slash and _HOST_NAME.fullmatch(name) and not _ENDS_IN_NUMBER.fullmatch(name):
        return f"{_quoted(entry)}: a host name has no prefix length; write {_quoted(name)}"
    if entry.startswith("[") and entry.endswith("]") and _is_address(entry[1:-1]):
        return f"{_quoted(entry)}: brackets are for ports; write {_quoted(entry[1:-1])}"
    return f"{_quoted(entry)} is not an entry; write {_FORMS}"


def _with_slash(scope: str) -> str:
    """The prefix length in a scope id such as ``eth0/64``, with its slash."""
    _, slash, length = scope.partition("/")
    return slash + length


def _is_address(text: str) -> bool:
    try:
        return bool(packed(text))
    except Unreadable:
        return False


def _uid(text: str) -> str:
    return f"uid:{_id(text, 'user')}"


def _gid(text: str) -> str:
    return f"gid:{_id(text, 'group')}"


def _id(text: str, kind: str) -> int:
    # isascii, since isdigit accepts the digits of any script; ten digits, since int() is slow for
    # thousands of them.
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _LARGEST_ID:
        return int(text)
    raise ValueError(f'must be a number from 0 to {_LARGEST_ID}; for a name write "{kind}:NAME"')


def _user(name: str) -> str:
    try:
        return f"uid:{pwd.getpwnam(name).pw_uid}"
    except (KeyError, ValueError):  # ValueError: a NUL
        raise ValueError('no such user here; for a number write "uid:N"') from None


def _group(name: str) -> str:
    try:
        return f"gid:{grp.getgrnam(name).gr_gid}"
    except (KeyError, ValueError):  # ValueError: a NUL
        raise ValueError('no such group here; for a number write "gid:N"') from None


def _certificate(name: str) -> str:
    """A name in a client's certificate: an address, a URI or a host name."""
    if _is_address(name):
        number = packed(name)
        return CERTIFICATE + _network_text(number, 8 * len(number))
    # Kept as it is: a URI in a certificate is compared as a whole text.
    if _URI.fullmatch(name):
        return CERTIFICATE + name
    if name.startswith(WILDCARD):
        raise ValueError("a rule names one client; only certificates have wildcards")
    return CERTIFICATE + canonical_name(name)


_PEERS: Final[dict[str, Callable[[str], str]]] = {
    "uid": _uid,
    "user": _user,
    "gid": _gid,
    "group": _group,
    "certificate": _certificate,
}


def _masked(number: bytes, length: int) -> bytes:
    shift = 8 * len(number) - length
    return (int.from_bytes(number) >> shift << shift).to_bytes(len(number))


def _network_text(number: bytes, length: int) -> str:
    """A network; a single address without its prefix length."""
    bits = 8 * len(number)
    address = socket.inet_ntop(socket.AF_INET if bits == 32 else socket.AF_INET6, number)
    return address if length == bits else f"{address}/{length}"


def _quoted(entry: str) -> str:
    # Escaped, so that a message stays one line.
    return json.dumps(entry, ensure_ascii=False)
