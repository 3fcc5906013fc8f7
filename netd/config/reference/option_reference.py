"""The table of socket options, printed: as a page, as lines, and as JSON.

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

netd sets each option on those listeners of the service that it fits: here `SO_KEEPALIVE` on TCP,
the groups on UDP, and the timeout on both. `netdctl check` reports an option that fits none of them
(unless it is from `[defaults]`), one that this system does not have, one that is read-only, and a
value that the system refuses.

`netdctl socket-options` prints those options of this table that the running kernel has.

## When an option is set

* *before bind*: it cannot be changed later, or then has no effect.
* *on the listener*: accepted TCP connections inherit it. Connections of a Unix socket inherit
  nothing, so netd sets it on each of them, too.
* *on each connection*: the worker sets it on each connection that it accepts, with the rights of
  the service's `user`. A program with `wait = true` accepts its connections itself, so these
  options are not set.

A datagram socket has no connections; all of its options are set on the socket itself.

## What a reload does

netd sets an added or changed option on the listeners that stay. A removed option gets the value
that a new socket has. If the reload fails, all options have their old values. Groups are joined and
left one by one. An option that is set before bind only changes on new listeners: one that stays
keeps the old value until netd is restarted, and `netdctl plan` says so. (Likewise, a buffer that
was given a size does not grow automatically until netd is restarted.)

## One listener for both families

With `IPV6_V6ONLY = false`, `tcp6:` and `udp6:` on all addresses also accept IPv4 clients, and
options for IPv4 fit them. Handlers see such a client's address as the system reports it,
`::ffff:192.0.2.7`; rules for `192.0.2.0/24` match it, and the log has `192.0.2.7`.
"""

_COLUMNS: Final = "| option | value | for | set | meaning |\n| --- | --- | --- | --- | --- |"

_IMPOSSIBLE_HEAD: Final = """\
## Options that no service can set

| name | why |
| --- | --- |"""


def page() -> str:
    """Return the page, in Markdown."""
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
    """Return all facts about each option, for programs."""
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
    """Return the facts as JSON text."""
    return json.dumps(facts(options), indent=1, ensure_ascii=False) + "\n"


def as_lines(options: Iterable[Option]) -> str:
    """Return one line for each option, in columns."""
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
