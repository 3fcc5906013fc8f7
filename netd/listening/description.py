"""Where a service listens, from text to an ``Address``, in the style of Twisted's endpoints."""

from __future__ import annotations

import difflib
import grp
import ipaddress
import os
import pwd
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from netd.model.address import Address, InetAddress, PassedAddress, Transport, UnixAddress

LONGEST_UNIX_NAME: Final = 107
"""Bytes: ``sun_path`` has 108, of which one is the NUL after a path or before an abstract name."""

_WORDS: Final = tuple(transport.value for transport in Transport)
_INET_OPTIONS: Final = ("interface",)
_UNIX_OPTIONS: Final = ("mode", "user", "group")
_UNIX_STREAM_OPTIONS: Final = (*_UNIX_OPTIONS, "tls")
_PASSED_OPTIONS: Final = ("tls",)
_YES_OR_NO: Final = {"yes": True, "no": False}
_LARGEST_ID: Final = 2**32 - 2  # chown(2) reads 2**32 - 1 as "leave it"


def parse(text: str) -> Address:
    r"""Read one description, such as ``tcp6:80:interface=[::1]`` or ``unix:/run/x:mode=600``.

    Parts stand between colons; a colon inside brackets or after a backslash belongs to its part.
    A host name as ``interface`` is looked up here, so that what is bound is what was checked.

    Raises ValueError: the message says what is wrong and what is valid.
    """
    _check_characters(text)
    word, *parts = _split(text)
    transport = _transport(word, text)
    if not parts or not parts[0]:
        raise ValueError(f'"{text}" has no {_first_part(transport)}: write {_example(transport)}')
    options = _options(transport, parts[1:])
    if transport is Transport.SYSTEMD:
        return PassedAddress(_passed_name(parts[0]), transport, is_tls=_is_tls(options))
    if transport.is_unix:
        return _unix(transport, parts[0], options)
    return _inet(transport, parts[0], options)


def resolved(address: Address, directory: str) -> Address:
    """Make a relative Unix path absolute against *directory*; leave every other address alone.

    Raises ValueError if the path does not fit into ``sun_path`` (unix(7)).
    """
    if not isinstance(address, UnixAddress) or address.is_abstract:
        return address
    path = os.path.abspath(os.path.join(directory, address.path))
    _check_length(path, os.fsencode(path))
    return replace(address, path=path)


def absolute(text: str, directory: str) -> str:
    """Make *text*, a valid description, independent of the directory it is read in."""
    word, *parts = _split(text)
    if not Transport(word).is_unix or parts[0].startswith("@"):
        return text
    parts[0] = os.path.abspath(os.path.join(directory, parts[0]))
    return ":".join([word, *(re.sub(r"([\\:\[])", r"\\\1", part) for part in parts)])


def _check_characters(text: str) -> None:
    # A NUL would end the path or the host name early, and no call would fail.
    if "\0" in text:
        raise ValueError(f"{text!r} contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!a} is not UTF-8 text") from None


def _split(text: str) -> list[str]:
    # Character by character: a colon in brackets or after a backslash does not separate.
    parts, bracketed = [""], False
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise ValueError(rf'"{text}" ends in a backslash: write "\\" for one')
            parts[-1] += escaped
        elif character == ":" and not bracketed:
            parts.append("")
        else:
            bracketed = character == "[" or (bracketed and character != "]")
            parts[-1] += character
    if bracketed:
        raise ValueError(rf'"{text}" has a "[" without its "]": write "\[" for a literal one')
    return parts


def _transport(word: str, text: str) -> Transport:
    if word in _WORDS:
        return Transport(word)
    known = f"known are {', '.join(_WORDS)}"
    if re.fullmatch("[0-9]+", text):
        raise ValueError(f'"{text}" names no transport: write "tcp:{text}"; {known}')
    if text.startswith(("/", "./", "@")):
        raise ValueError(f'"{text}" names no transport: write "unix:{text}"; {known}')
    raise ValueError(f'unknown transport "{word}"{_nearest(word.lower(), _WORDS)}; {known}')


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f': did you mean "{near[0]}"?' if near else ""


def _first_part(transport: Transport) -> str:
    if transport is Transport.SYSTEMD:
        return "name"
    return "path" if transport.is_unix else "port"


def _example(transport: Transport) -> str:
    if transport is Transport.SYSTEMD:
        return '"systemd:web", the FileDescriptorName= of the socket unit'
    return f'"{transport.value}:/run/time"' if transport.is_unix else f'"{transport.value}:10037"'


def _options(transport: Transport, parts: Iterable[str]) -> dict[str, str]:
    known = _known_options(transport)
    options: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f'"{part}" is not an option NAME=VALUE: {_colons(transport)}')
        if name not in known:
            raise ValueError(
                f'{transport.value}: has no option "{name}"{_nearest(name, known)}'
                f"; known are {', '.join(known)}"
            )
        if name in options:
            raise ValueError(f'option "{name}" is given twice')
        if not value:
            hint = "" if transport.is_unix else f" ({_colons(transport)})"
            raise ValueError(f'option "{name}" is empty: give it a value or leave it out{hint}')
        options[name] = value
    return options


def _known_options(transport: Transport) -> tuple[str, ...]:
    if transport.is_unix:
        return _UNIX_OPTIONS if transport.is_datagram else _UNIX_STREAM_OPTIONS
    return _PASSED_OPTIONS if transport is Transport.SYSTEMD else _INET_OPTIONS


def _colons(transport: Transport) -> str:
    if transport.is_unix:
        return r'a colon in a path is written "\:"'
    if transport is Transport.SYSTEMD:
        return "a name has no colon (systemd.socket(5))"
    return "write an IPv6 address in brackets, interface=[::1]"


def _inet(transport: Transport, port: str, options: Mapping[str, str]) -> InetAddress:
    interface = options.get("interface")
    return InetAddress(
        transport, _port(port), "" if interface is None else _interface(transport, interface)
    )


def _port(text: str) -> int:
    # A pattern, since int() also accepts signs, spaces, underscores and the digits of any script.
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError(f'port "{text}" is not a number from 0 to 65535')
    return int(text)


def _interface(transport: Transport, text: str) -> str:
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return _looked_up(transport, host)
    if (literal.version == 6) != (transport.family == socket.AF_INET6):
        other = f"{transport.value}6" if literal.version == 6 else transport.value.rstrip("6")
        raise ValueError(f'interface "{host}" is an IPv{literal.version} address: use {other}:')
    # The canonical text, so that two spellings of an address are the same listener in a reload.
    return str(literal)


def _looked_up(transport: Transport, host: str) -> str:
    try:
        answers = socket.getaddrinfo(host, None, transport.family, transport.type)
    except socket.gaierror as error:
        name = _eai_name(error.errno)
        raise ValueError(f'interface "{host}": {name} ({error.errno}) {error.strerror}') from None
    except UnicodeError:
        raise ValueError(f'interface "{host}" is neither an address nor a host name') from None
    # Only the first answer: one description is one listener. gai.conf(5) orders the answers.
    # getaddrinfo leaves the scope out of the text; getnameinfo writes it: fe80::1%eth0.
    numeric = socket.getnameinfo(answers[0][4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
    return str(ipaddress.ip_address(numeric))


def _eai_name(code: int | None) -> str:
    names = (name for name in dir(socket) if name.startswith("EAI_"))
    return next((name for name in names if getattr(socket, name) == code), "getaddrinfo")


def _unix(transport: Transport, path: str, options: Mapping[str, str]) -> UnixAddress:
    if path.startswith("@"):
        return _abstract(transport, path, options)
    # Users and groups are looked up now, so that a reload notices when a name gets another number.
    return UnixAddress(
        transport,
        path,
        mode=_mode(options.get("mode", "660")),
        user=_account("user", options, lambda name: pwd.getpwnam(name).pw_uid),
        group=_account("group", options, lambda name: grp.getgrnam(name).gr_gid),
        is_tls=_is_tls(options),
    )


def _abstract(transport: Transport, path: str, options: Mapping[str, str]) -> UnixAddress:
    if path == "@":
        raise ValueError('an abstract name needs a character after its "@"')
    for name in options.keys() - {"tls"}:
        raise ValueError(
            f'"{path}" is an abstract name, which is not in the file system and has no {name}: '
            "use the service's access table instead"
        )
    _check_length(path, path[1:].encode())
    return UnixAddress(transport, path, is_tls=_is_tls(options))


def _is_tls(options: Mapping[str, str]) -> bool:
    word = options.get("tls", "no")
    if word not in _YES_OR_NO:
        raise ValueError(f'tls is "yes" or "no", not "{word}"')
    return _YES_OR_NO[word]


def _passed_name(text: str) -> str:
    if not re.fullmatch("[!-~]([ -~]{0,253}[!-~])?", text):
        raise ValueError(
            f'"{text}" is not the name of a passed socket: write what FileDescriptorName= of the '
            "socket unit says, at most 255 ASCII characters"
        )
    return text


def _check_length(path: str, name: bytes) -> None:
    if len(name) > LONGEST_UNIX_NAME:
        raise ValueError(
            f'"{path}" is {len(name)} bytes long, '
            f"the name of a Unix socket at most {LONGEST_UNIX_NAME} (unix(7))"
        )


def _mode(text: str) -> int:
    if not re.fullmatch("0?[0-7]{3}", text):
        raise ValueError(f'mode "{text}" is not octal from 000 to 777, such as 660')
    return int(text, 8)


def _account(kind: str, options: Mapping[str, str], find: Callable[[str], int]) -> int | None:
    if kind not in options:
        return None
    text = options[kind]
    try:
        return find(text)  # a name first, even one of digits only, as chown(1) does
    except KeyError:
        if re.fullmatch("[0-9]{1,10}", text) and int(text) <= _LARGEST_ID:
            return int(text)
    raise ValueError(f'unknown {kind} "{text}": write a name that this system knows, or a number')
