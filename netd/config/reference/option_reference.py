"""The table of socket options for people: as a page, as lines, and as JSON.

``python -m netd.config.reference.option_reference`` prints what ``docs/socket-options.md`` has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from netd.config.toml import literal
from netd.listening.options.table import IMPOSSIBLE, OPTIONS, Level, Option

_HEAD: Final = """\
# Socket options

<!-- Made by "python -m netd.config.reference.option_reference" from the table of options. -->

A service sets the options of its sockets by the names of their constants:

```toml
[services.chat]
handler = "chat:Chat"
listen = ["tcp:10040", "udp:10040"]

[services.chat.socket]
SO_KEEPALIVE = true
TCP_KEEPIDLE = 60
SO_RCVTIMEO = "2.5s"
IP_ADD_MEMBERSHIP = ["239.1.2.3", "239.1.2.4@lo"]
```

Each goes to those listeners of the service that it fits: here `SO_KEEPALIVE` to TCP, the groups to
UDP, and the time-out to both. One that fits none of them is a problem, unless it is from
`[defaults]`; so is one that this system does not have, one that is read only, and a value that the
system does not take. `netdctl check` says all of that.

`netdctl socket-options` prints this table, as far as the kernel it runs on has the options.

## When an option is set

* *before bind*: it cannot be changed later, or has no effect then.
* *on the listener*: accepted TCP connections inherit it. Connections of a Unix socket inherit
  nothing; there it is set on each, too.
* *on each connection*: the worker sets it on what it takes, whatever the service runs. It has the
  rights of the service's `user` then. A program with `wait = true` takes its connections itself,
  and gets none of these.

A datagram socket has no connections, and gets all of its options itself.

## What a reload does

An option that was added or changed is set on the listeners that stay, and one that was taken out
gets the value that a new socket has; if the reload comes to nothing, all is as it was. Groups are
joined and left one by one. What is set before bind holds for listeners that are bound from then on:
one that stays keeps what it has until netd is started anew, and `netdctl plan` says so. (So does
the automatic growth of a buffer, once it has been given a size.)

## Both families by one listener

With `IPV6_V6ONLY = false`, `tcp6:` and `udp6:` on all addresses take IPv4 clients, too, and options
of IPv4 fit them. Handlers find such a client's address as the system gives it, `::ffff:192.0.2.7`;
rules for `192.0.2.0/24` match it, and the log has `192.0.2.7`.
"""

_COLUMNS: Final = "| option | value | for | set | meaning |\n| --- | --- | --- | --- | --- |"

_IMPOSSIBLE_HEAD: Final = """\
## Names that no service can have

| name | why |
| --- | --- |"""


def page() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    for level in Level:
        rows = [_row(option) for option in OPTIONS.values() if option.level is level]
        parts += [f"## `{level.name}`\n", _COLUMNS, *rows, ""]
    parts += [_IMPOSSIBLE_HEAD, *(f"| `{name}` | {why} |" for name, why in IMPOSSIBLE.items()), ""]
    return "\n".join(parts)


def _row(option: Option) -> str:
    value = f"{option.form.title}, like `{literal(_listed(option.form.examples[0]))}`"
    cells = (
        f"`{option.name}`",
        value,
        option.fit.words,
        option.applied.value,
        f"{option.meaning} ({option.source})",
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _listed(example: object) -> object:
    return list(example) if isinstance(example, tuple) else example


def facts(options: Iterable[Option]) -> list[Mapping[str, object]]:
    """What there is to know of each option, for programs."""
    return [
        {
            "name": option.name,
            "level": option.level.name,
            "number": option.number,
            "value": option.form.title,
            "examples": list(option.form.examples),
            "for": option.fit.words,
            "set": option.applied.value,
            "meaning": option.meaning,
            "source": option.source,
        }
        for option in options
    ]


def as_json(options: Iterable[Option]) -> str:
    """The same as the text of a file."""
    return json.dumps(facts(options), indent=1, ensure_ascii=False) + "\n"


def as_lines(options: Iterable[Option]) -> str:
    """A line each, in columns."""
    head = ("OPTION", "LEVEL", "VALUE", "FOR", "SET", "MEANING")
    rows = [head] + [
        (one.name, one.level.name, one.form.title, one.fit.words, one.applied.value, one.meaning)
        for one in options
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        + "\n"
        for row in rows
    )


if __name__ == "__main__":
    print(page(), end="")
