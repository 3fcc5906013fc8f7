"""Broken files and the exact lines that an operator reads about them.

``KEYS`` breaks one key of an otherwise good file, ``FILES`` are whole files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from netd.config.load import load
from netd.config.schema import DaemonTable, ServiceTable
from netd.model.problem import ConfigurationError

GOOD: Final = {"listen": '["tcp:10037"]', "handler": '"timeserver:TimeServer"'}

DURATION: Final = 'must be a number of seconds from 0, or a text like "250ms", "30s", "5m" or "2h"'
SIZE: Final = 'must be a number of bytes from 0, or a text like "64KiB" or "10MiB"'
ENTRY: Final = (
    'write an address or network ("10.0.0.0/8", "::1"), a host name, "unix", "uid:1000",'
    ' "user:alice", "gid:100", "group:staff" or "certificate:client.example"'
)
NAME: Final = (
    "is no name: write letters and digits, and . _ - but not first, 100 characters at most"
)
SERVICE: Final = ", ".join(sorted(ServiceTable.model_fields))
DAEMON: Final = ", ".join(sorted(DaemonTable.model_fields))
HANDLER_NAME: Final = 'must be "module:Class" or the name of a registered handler'
CONCURRENCY: Final = 'must be "reactor", "thread" or "process"'
BESIDE: Final = {
    "protocol": ["listen"], "program": ["listen"], "wait": ["listen"], "plugin": [],
    "arguments": [],
}  # fmt: skip
"""What of GOOD can stand beside a key, where that is not all the rest."""
TRANSPORTS: Final = "known are tcp, tcp6, tls, tls6, udp, udp6, unix, unixgram, systemd"

# A key of [services.time], its value, and what is said about it. The key stands on line 2.
KEYS: Final = [
    ("listen", '"tcp:80"', 'must be a list: ["tcp:80"], not "tcp:80"'),
    ("listen", "80", "must be a list, not 80"),
    ("listen", "{tcp = 80}", "must be a list, not a table"),
    ("listen", "[]", "must not be empty"),
    ("listen", "[80]", "must be a string, not 80"),
    ("listen", '[["tcp:80"]]', "must be a string, not a list"),
    ("listen", '["tpc:80"]', f'unknown transport "tpc": did you mean "tcp"?; {TRANSPORTS}'),
    ("listen", '["80"]', f'"80" names no transport: write "tcp:80"; {TRANSPORTS}'),
    ("listen", '["tcp"]', '"tcp" has no port: write "tcp:10037"'),
    ("listen", '["tcp:65536"]', 'port "65536" is not a number from 0 to 65535'),
    ("listen", '["tcp6:80:interface=fe80::1"]', '"" is not an option NAME=VALUE: write an IPv6'
     " address in brackets, interface=[::1]"),
    ("listen", '["tcp:80:mode=600"]', 'tcp: has no option "mode"; known are interface'),
    ("listen", '["unix:"]', '"unix:" has no path: write "unix:/run/time"'),
    ("listen", '["unix:x:mode=999"]', 'mode "999" is not octal from 000 to 777, such as 660'),
    ("listen", '["unix:a\\u0000b"]', "'unix:a\\x00b' contains a NUL character"),
    ("handler", "5", "must be a string, not 5"),
    ("handler", '["m:C"]', "must be a string, not a list"),
    ("handler", '""', f'{HANDLER_NAME}, not ""'),
    ("handler", '"TimeServer"', f'{HANDLER_NAME}, not "TimeServer"'),
    ("handler", '"ecko"', 'no handler is registered as "ecko"; did you mean "echo"?'),
    ("handler", '"tim"', 'no handler is registered as "tim"; did you mean "time" or "daytime"?'),
    ("handler", f'"{"x" * 99}"', f'{HANDLER_NAME}, not "{"x" * 60}…"'),
    ("handler", '":"', 'must be "module:Class", not ":"'),
    ("handler", '"time/server.py:C"', 'must be "module:Class", not "time/server.py:C"'),
    ("handler", '"m:C.D"', 'must be "module:Class", not "m:C.D"'),
    ("handler", '"m:C\\n"', 'must be "module:Class", not "m:C\\n"'),
    ("server", "5", "must be a string, not 5"),
    ("server", '"echo"', 'must be "module:Class", not "echo"'),
    ("server", '"m:C.D"', 'must be "module:Class", not "m:C.D"'),
    ("protocol", "{}", "must be a string, not a table"),
    ("protocol", '""', 'must be "module:Class", not ""'),
    ("concurrency", '"threads"', f'{CONCURRENCY}, not "threads"'),
    ("concurrency", "true", f"{CONCURRENCY}, not true"),
    ("processes", "0", "must be 1 or more, not 0"),
    ("processes", "1001", "must be 1000 or less, not 1001"),
    ("processes", '"4"', 'must be a whole number, not "4"'),
    ("processes", "true", "must be a whole number, not true"),
    ("threads", "0", "must be 1 or more, not 0"),
    ("threads", "-5", "must be 1 or more, not -5"),
    ("threads", "10001", "must be 10000 or less, not 10001"),
    ("threads", "9" * 400, "must be 10000 or less, not an enormous number"),
    ("threads", "0x" + "f" * 5000, "must be 10000 or less, not an enormous number"),
    ("threads", '"100"', 'must be a whole number, not "100"'),
    ("threads", "1.0", "must be a whole number, not 1.0"),
    ("threads", "nan", "must be a whole number, not nan"),
    ("threads", "true", "must be a whole number, not true"),
    ("threads", "2026-01-01", "must be a whole number, not 2026-01-01"),
    ("worker", '""', f'"" {NAME}'),
    ("worker", '"a b"', f'"a b" {NAME}'),
    ("worker", '"a\\u0000"', f'"a\\u0000" {NAME}'),
    ("worker", f'"{"x" * 101}"', f'"{"x" * 60}…" {NAME}'),
    ("worker", "1", "must be a string, not 1"),
    ("backlog", "0", "must be 1 or more, not 0"),
    ("backlog", "65536", "must be 65535 or less, not 65536"),
    ("backlog", '"many"', 'must be a whole number, not "many"'),
    ("datagram_size", "0", "must be from 1 to 1048576 bytes, not 0"),
    ("datagram_size", '"2MiB"', 'must be from 1 to 1048576 bytes, not "2MiB"'),
    ("datagram_size", "-1", f"{SIZE}, not -1"),
    ("datagram_size", '"64KB"', f'{SIZE}, not "64KB"'),
    ("datagram_size", "1.5", "must be a whole number of bytes, not 1.5"),
    ("datagram_size", "9" * 400, "must be less than 8 EiB, not an enormous number"),
    ("datagram_size", "false", f"{SIZE}, not false"),
    ("user", '"no such user"', 'there is no user "no such user": write a name that this system'
     " knows, or a number without quotes"),
    ("user", '"0"', 'there is no user "0": write a name that this system knows, or a number'
     " without quotes"),
    ("user", '"a\\u0000"', 'there is no user "a\\u0000": write a name that this system knows, or a'
     " number without quotes"),
    ("user", "true", "must be a user's name, or a number from 0 to 4294967294, not true"),
    ("user", "-1", "must be a user's name, or a number from 0 to 4294967294, not -1"),
    ("user", "4294967295", "must be a user's name, or a number from 0 to 4294967294, not"
     " 4294967295"),
    ("user", "1.5", "must be a user's name, or a number from 0 to 4294967294, not 1.5"),
    ("user", "[0]", "must be a user's name, or a number from 0 to 4294967294, not a list"),
    ("group", '""', 'there is no group "": write a name that this system knows, or a number'
     " without quotes"),
    ("group", "-1", "must be a group's name, or a number from 0 to 4294967294, not -1"),
    ("group", "9" * 400, "must be a group's name, or a number from 0 to 4294967294, not an"
     " enormous number"),
    ("group", "true", "must be a group's name, or a number from 0 to 4294967294, not true"),
    ("enabled", "1", "must be true or false, not 1"),
    ("enabled", '"no"', 'must be true or false, not "no"'),
    ("options", "[]", "must be a table, not a list"),
    ("options", '"--verbose"', 'must be a table, not "--verbose"'),
    ("access", "5", "must be a table, not 5"),
    ("access", '["10.0.0.0/8"]', "must be a table, not a list"),
    ("access.allow", '"::1"', 'must be a list: ["::1"], not "::1"'),
    ("access.allow", "[1]", "must be a string, not 1"),
    ("access.allow", '[""]', f'"" is not an entry; {ENTRY}'),
    ("access.allow", '["10.0.0.1/8"]', '"10.0.0.1/8" has host bits set; write "10.0.0.0/8" or'
     ' "10.0.0.1"'),
    ("access.deny", '["10.0.0.0/33"]', '"10.0.0.0/33": the prefix length, after the slash, is a'
     " number from 0 to 32"),
    ("access.deny", '["uid:x"]', '"uid:x": must be a number from 0 to 4294967294; for a name write'
     ' "user:NAME"'),
    ("access.deny", "false", "must be a list, not false"),
    ("access.verify_request", '"check"', 'must be "module:function", not "check"'),
    ("access.verify_request", "true", "must be a string, not true"),
    ("access.verify_timeout", "0", "must be longer than 0 s, not 0"),
    ("access.verify_timeout", '"0ms"', 'must be longer than 0 s, not "0ms"'),
    ("access.verify_timeout", "-1", f"{DURATION}, not -1"),
    ("access.verify_timeout", "nan", f"{DURATION}, not nan"),
    ("access.verify_timeout", "inf", "must be 100 years at most, not inf"),
    ("access.verify_timeout", "1e300", "must be 100 years at most, not 1e+300"),
    ("access.verify_timeout", '"5 minutes"', f'{DURATION}, not "5 minutes"'),
    ("access.verify_timeout", "true", f"{DURATION}, not true"),
    ("access.verify_timeout", "00:00:05", f"{DURATION}, not 00:00:05"),
    ("access.dry_run", '"true"', 'must be true or false, not "true"'),
    ("access.hours", "[]", "unknown key; known here are allow, deny, dry_run, verify_request,"
     " verify_timeout"),
    ("access.alow", "[]", 'unknown key; did you mean "allow"?'),
    ("proxy_protocol", '["10.0.0.1"]', "must be a table, not a list"),
    ("proxy_protocol.from", '"10.0.0.1"', 'must be a list: ["10.0.0.1"], not "10.0.0.1"'),
    ("proxy_protocol.from", "[1]", "must be a string, not 1"),
    ("proxy_protocol.from", '["10.0.0.1/8"]', '"10.0.0.1/8" has host bits set; write "10.0.0.0/8"'
     ' or "10.0.0.1"'),
    ("proxy_protocol.from", '["uid:0"]', '"uid:0" is no proxy: write an address, a network'
     ' or "unix"'),
    ("proxy_protocol.form", "[]", 'unknown key; did you mean "from"?'),
    ("limits.handshakes", "0", "must be 1 or more, not 0"),
    ("limits.handshakes", "1_000_001", "must be 1000000 or less, not 1000001"),
    ("limits.handshakes", '"1s"', 'must be a whole number, not "1s"'),
    ("hander", '"m:C"', 'unknown key; did you mean "handler"?'),
    ("Threads", "5", 'unknown key; did you mean "threads"?'),
    ("data-gram-size", "5", 'unknown key; did you mean "datagram_size"?'),
    ("proxy_protocol.from", '["certificate:a.example"]', '"certificate:a.example" is no proxy:'
     ' write an address, a network or "unix"'),
    ("telnet", "{}", f"unknown key; known here are {SERVICE}"),
    ("tls", "true", "must be a table, not true"),
    ("tls.certificate", "1", "must be a string, not 1"),
    ("tls.certificate", '""', "must not be empty"),
    ("tls.client_certificate", '"yes"', 'must be "none", "optional" or "required", not "yes"'),
    ("tls.minimum_version", '"TLSv1.1"', 'must be "TLSv1.2" or "TLSv1.3", not "TLSv1.1"'),
    ("tls.maximum_version", "1.3", 'must be "TLSv1.2" or "TLSv1.3", not 1.3'),
    ("tls.ciphers", "[]", "must be a string, not a list"),
    ("tls.alpn", '"h2"', 'must be a list: ["h2"], not "h2"'),
    ("tls.alpn", '[""]', '"" is no protocol: write 1 to 255 ASCII characters'),
    ("tls.alpn", f'["{"h" * 256}"]', f'"{"h" * 60}…" is no protocol: write 1 to 255 ASCII'
     " characters"),
    ("tls.handshake_timeout", "0", "must be longer than 0 s, not 0"),
    ("tls.suppress_ragged_eofs", '"no"', 'must be true or false, not "no"'),
    ("tls.sni", "[]", "must be a table, not a list"),
    ("tls.certificat", '"a.pem"', 'unknown key; did you mean "certificate"?'),
    ("program", "5", "must be a list, not 5"),
    ("program", '"head"', 'must be a list: ["head"], not "head"'),
    ("program", "[]", "must not be empty"),
    ("program", '["head", 1]', "must be a string, not 1"),
    ("program", '["a\\u0000"]', '"a\\u0000" has a NUL character, which an argument cannot have'),
    ("wait", "1", "must be true or false, not 1"),
    ("plugin", "5", "must be a string, not 5"),
    ("plugin", '"a b"', f'"a b" {NAME}'),
    ("arguments", '"-v"', 'must be a list: ["-v"], not "-v"'),
    ("max_requests", "-1", "must be 0 or more, not -1"),
    ("max_requests", '"1"', 'must be a whole number, not "1"'),
    ("max_memory", '"1 GB"', f'{SIZE}, not "1 GB"'),
    ("handler_timeout", "0", "must be longer than 0 s, not 0"),
    ("process", "4", 'unknown key; did you mean "processes"?'),
    ('"a b"', "1", f"unknown key; known here are {SERVICE}"),
    ('""', "1", f"unknown key; known here are {SERVICE}"),
]  # fmt: skip

TIME: Final = "[services.time]\nlisten = ['tcp:10037']\nhandler = 'timeserver:TimeServer'\n"

NO_SERVICE: Final = "netd.toml:1: services: there is no service: add a table [services.NAME]"

LISTEN: Final = 'is required: where it listens, like ["tcp:10037"]'
HANDLER: Final = 'is required: what it runs, "handler" or "server" or "protocol" or "program" or\
 "plugin"'
TOP: Final = "admin, daemon, defaults, include, log, python_path, services"

# Files, the first of which is loaded, and all lines that it is refused with.
FILES: Final = {
    "nothing at all": ([""], [NO_SERVICE]),
    "a comment": (["\n\n# to come\n"], [NO_SERVICE]),
    "no service in services": (["\n\n[services]\n"], [NO_SERVICE]),
    "services is a number": (
        ["services = 5\n"], ["netd.toml:1: services: must be a table, not 5"],
    ),
    "services is false": (
        ["\nservices = false\n"], ["netd.toml:2: services: must be a table, not false"],
    ),
    "services is a list of tables": (
        ["\n[[services]]\nlisten = []\n"], ["netd.toml:2: services: must be a table, not a list"],
    ),
    "a service is a number": (
        ["[services]\ntime = 3\n"], ["netd.toml:2: services.time: must be a table, not 3"],
    ),
    "a service is a list of tables": (
        ["[[services.a]]\n[[services.a]]\n"],
        ["netd.toml:1: services.a: must be a table, not a list"],
    ),
    "a key of services without a table": (
        ["[services]\nlisten = ['tcp:1']\n[services.time]\nhandler = 'm:C'\n"],
        [
            "netd.toml:2: services.listen: must be a table, not a list",
            f"netd.toml:3: services.time.listen: {LISTEN}",
        ],
    ),
    "an empty service": (
        ["\n[services.time]\n"],
        [
            f"netd.toml:2: services.time.handler: {HANDLER}",
            f"netd.toml:2: services.time.listen: {LISTEN}",
        ],
    ),
    "a service in the wrong place": (
        ["[time]\nlisten = ['tcp:1']\nhandler = 'm:C'\n"],
        [NO_SERVICE, f"netd.toml:1: time: unknown key; known here are {TOP}"],
    ),
    "service for services": (
        ["\n[service.time]\nlisten = ['tcp:1']\nhandler = 'm:C'\n"],
        [NO_SERVICE, 'netd.toml:2: service: unknown key; did you mean "services"?'],
    ),
    "a missing handler between good services": (
        [f"{TIME}[services.b]\nlisten = ['tcp:1']\n[services.c.options]\n"],
        [
            f"netd.toml:4: services.b.handler: {HANDLER}",
            f"netd.toml:6: services.c.handler: {HANDLER}",
            f"netd.toml:6: services.c.listen: {LISTEN}",
        ],
    ),
    "elements of a list": (
        ["[services.a]\nhandler = 'm:C'\nlisten = [\n  'tcp:1',  # fine\n\n  'tcp:x',\n  'y:1']\n"],
        [
            'netd.toml:6: services.a.listen: port "x" is not a number from 0 to 65535',
            f'netd.toml:7: services.a.listen: unknown transport "y"; {TRANSPORTS}',
        ],
    ),
    "a service whose name has no place in a log": (
        ['[services."\\u001b[31m"]\nlisten = ["tcp:1"]\nhandler = "m:C"\n'],
        [f'netd.toml:1: services."\\u001b[31m": "\\u001b[31m" {NAME}'],
    ),
    "include is a string": (
        ["include = 'services.d/*.toml'\n"],
        [
            'netd.toml:1: include: must be a list: ["services.d/*.toml"], not "services.d/*.toml"'
        ],
    ),
    "include is a number": (
        [f"include = 5\n{TIME}"], ["netd.toml:1: include: must be a list, not 5"],
    ),
    "include of what is no path": (
        [f"include = [\n'',\n5,\n\"a\\u0000/*\",\n]\n{TIME}"],
        [
            "netd.toml:2: include: must not be empty",
            "netd.toml:3: include: must be a string, not 5",
            'netd.toml:4: include: "a\\u0000/*" has a NUL character, which a path cannot have',
        ],
    ),
    "include of a file that is not there": (
        [f"include = ['*.none', 'none.toml']\n{TIME}"],
        ["netd.toml:1: include: there is no file none.toml; only a wildcard may match none"],
    ),
    "include of a directory": (
        [f"include = ['.']\n{TIME}"], [".:1: cannot read: Is a directory"],
    ),
    "an included file that is no TOML": (
        ["include = ['1.toml']\n", "[services.a]\nlisten = tcp:1\n"],
        ["1.toml:2: not TOML: Invalid value; a string stands in quotes"],
    ),
    "an included file of the main file's keys": (
        [
            f"include = ['*.toml']\n{TIME}",
            "include = ['x']\npython_path = []\n[daemon]\n[defaults]\nx = 1\n[services.a]\n",
        ],
        [
            *(
                f"1.toml:{line}: {key}: goes into netd.toml: an included file has tables"
                " [services.NAME] only"
                for line, key in enumerate(["include", "python_path", "daemon", "defaults"], 1)
            ),
            f"1.toml:6: services.a.handler: {HANDLER}",
            f"1.toml:6: services.a.listen: {LISTEN}",
        ],
    ),
    "an included file of unknown keys": (
        [f"include = ['1.toml']\n{TIME}", "srvices = 1\n"],
        ['1.toml:1: srvices: unknown key; did you mean "services"?'],
    ),
    "a service in two files": (
        [f"include = ['1.toml']\n{TIME}", f"\n{TIME}".replace("10037", "1")],
        ["1.toml:2: services.time: is also in netd.toml:2: give one of them another name"],
    ),
    "an address in two files": (
        [f"include = ['1.toml']\n{TIME}", TIME.replace("services.time", "services.b")],
        [
            "1.toml:2: services.b.listen: tcp:10037 is listened on by services.time already:"
            " take another"
        ],
    ),
    "a file that overlapping patterns include": (
        [f"include = ['1.toml', '*.toml', './1.*']\n{TIME}", "x = 1\n[services.a]\nthreads = 0\n"],
        [
            "1.toml:1: x: unknown key; known here are services",
            f"1.toml:2: services.a.handler: {HANDLER}",
            f"1.toml:2: services.a.listen: {LISTEN}",
            "1.toml:3: services.a.threads: must be 1 or more, not 0",
        ],
    ),
    "defaults is a number": (
        [f"defaults = 1\n{TIME}"], ["netd.toml:1: defaults: must be a table, not 1"],
    ),
    "an unknown key in defaults": (
        [f"[defaults]\nthread = 5\n{TIME}{TIME.replace('time', 'b').replace('tcp', 'udp')}"],
        ['netd.toml:2: defaults.thread: unknown key; did you mean "threads"?'],
    ),
    "a listener in defaults for two services": (
        ["[defaults]\nlisten = ['tcp:1']\nhandler = 'm:C'\n[services.a]\n[services.b]\n"],
        [
            "netd.toml:5: services.b.listen: tcp:1 is listened on by services.a already:"
            " take another"
        ],
    ),
    "a wrong value in defaults, and in the service": (
        [f"[defaults.access]\ndry_run = 1\nallow = [1]\n{TIME}access.allow = 2\n"],
        [
            "netd.toml:2: defaults.access.dry_run: must be true or false, not 1",
            "netd.toml:3: defaults.access.allow: must be a string, not 1",
            "netd.toml:7: services.time.access.allow: must be a list, not 2",
        ],
    ),
    "the unknown user of the defaults": (
        [f"[defaults]\nuser = 'no such user'\n{TIME}"],
        [
            'netd.toml:2: defaults.user: there is no user "no such user": write a name that this'
            " system knows, or a number without quotes"
        ],
    ),
    "python_path is a string": (
        [f"python_path = 'handlers'\n{TIME}"],
        ['netd.toml:1: python_path: must be a list: ["handlers"], not "handlers"'],
    ),
    "python_path of what is no directory": (
        [f"python_path = [\n'none',\n'netd.toml',\n'',\n]\n{TIME}"],
        ["netd.toml:4: python_path: must not be empty"],
    ),
    "python_path of directories that are not there": (
        [f"python_path = ['.', 'none',\n'netd.toml']\n{TIME}"],
        [
            "netd.toml:1: python_path: there is no directory none: make it, or name another",
            "netd.toml:2: python_path: there is no directory netd.toml: make it, or name another",
        ],
    ),
    "daemon is a list": (
        [f"daemon = []\n{TIME}"], ["netd.toml:1: daemon: must be a table, not a list"],
    ),
    "an unknown key of the daemon": (
        [f"[daemon]\ngracefull_timeout = 5\nuser = 0\n{TIME}"],
        [
            'netd.toml:2: daemon.gracefull_timeout: unknown key; did you mean "graceful_timeout"?',
            f"netd.toml:3: daemon.user: unknown key; known here are {DAEMON}",
        ],
    ),
    "a table that this version does not know": (
        [f"{TIME}[people]\nlisten = []\n"],
        [f"netd.toml:4: people: unknown key; known here are {TOP}"],
    ),
    "the admin socket is no path": (
        [f"{TIME}[admin]\nsocket = ''\nport = 1\n"],
        [
            "netd.toml:5: admin.socket: must not be empty",
            "netd.toml:6: admin.port: unknown key; known here are socket",
        ],
    ),
    "a log of another format": (
        [f"[log]\nformat = 'xml'\n{TIME}"],
        ['netd.toml:2: log.format: must be "text", "json", "journald" or "syslog", not "xml"'],
    ),
    "a log of another level": (
        [f"log.level = 'warning'\n{TIME}"],
        [
            'netd.toml:1: log.level: must be "debug", "info", "warn", "error" or "critical",'
            ' not "warning"'
        ],
    ),
    "a log with some connections": (
        [f"[log]\nconnections = 'failed'\nfile = 5\n{TIME}"],
        [
            'netd.toml:2: log.connections: must be true or false, not "failed"',
            "netd.toml:3: log.file: must be a string, not 5",
        ],
    ),
    "a log in a file without a name": (
        [f"[log]\nfile = ''\n{TIME}"], ["netd.toml:2: log.file: must not be empty"],
    ),
    "a file of the journal": (
        [f"[log]\nfile = 'netd.log'\nformat = 'journald'\n{TIME}"],
        [
            'netd.toml:2: log.file: has no effect with format = "journald": leave out one of'
            " the two"
        ],
    ),
    "a file of syslog, and other problems": (
        [f"[log]\nformat = 'syslog'\nfile = '/dev/log'\n{TIME}threads = 0\n"],
        [
            'netd.toml:3: log.file: has no effect with format = "syslog": leave out one of the'
            " two",
            "netd.toml:7: services.time.threads: must be 1 or more, not 0",
        ],
    ),
    "an unknown key of the log": (
        [f"[log]\nformatt = 'json'\n{TIME}"],
        ['netd.toml:2: log.formatt: unknown key; did you mean "format"?'],
    ),
    "graceful for ever": (
        [f"[daemon]\ngraceful_timeout = inf\n{TIME}"],
        ["netd.toml:2: daemon.graceful_timeout: must be 100 years at most, not inf"],
    ),
    "graceful for less than nothing": (
        [f"[daemon]\ngraceful_timeout = -0.5\n{TIME}"],
        [f"netd.toml:2: daemon.graceful_timeout: {DURATION}, not -0.5"],
    ),
    "graceful until a date": (
        [f"daemon.graceful_timeout = 2026-01-01T00:00:00Z\n{TIME}"],
        [f"netd.toml:1: daemon.graceful_timeout: {DURATION}, not 2026-01-01 00:00:00+00:00"],
    ),
    "users of one worker": (
        [
            f"{TIME}worker = 'w'\nuser = 0\n"
            "[services.b]\nhandler = 'm:C'\nworker = 'w'\nlisten = ['tcp:1']\n"
        ],
        [
            "netd.toml:8: services.b.worker: shares worker w with services.time, which has another"
            " user or group: give both the same, or each a worker"
        ],
    ),
    "no TOML": (
        ["\n[services.time\nlisten = []\n"],
        ["netd.toml:2: not TOML: Expected ']' at the end of a table declaration"],
    ),
    "a service twice": (
        [TIME + TIME],
        ["netd.toml:4: not TOML: Cannot declare services.time twice; put the keys of both into"
         " one"],
    ),
    "a key twice": (
        [f"{TIME}handler = 'm:C'\n"],
        ["netd.toml:4: not TOML: Cannot overwrite a value; the key is there already, and can be"
         " given once"],
    ),
    "the end comes too early": (
        [f"{TIME}options = [\n\n"], ["netd.toml:4: not TOML: Invalid value; the file ends there"],
    ),
    "everything at once": (
        [
            "include = ['1.toml', 'none']\npython_path = ['none']\nx = 1\n"
            "[daemon]\ngraceful_timeout = 'soon'\n"
            "[defaults]\nthreads = 0\n"
            "[services.'a b']\nlisten = ['tcp:1']\nbacklog = 0\n",
            "[services.c]\nlisten = ['tcp:1', 5]\nhandler = ':'\n",
        ],
        [
            "netd.toml:1: include: there is no file none; only a wildcard may match none",
            "netd.toml:2: python_path: there is no directory none: make it, or name another",
            f"netd.toml:3: x: unknown key; known here are {TOP}",
            f'netd.toml:5: daemon.graceful_timeout: {DURATION}, not "soon"',
            "netd.toml:7: defaults.threads: must be 1 or more, not 0",
            f'netd.toml:8: services."a b": "a b" {NAME}',
            f'netd.toml:8: services."a b".handler: {HANDLER}',
            'netd.toml:10: services."a b".backlog: must be 1 or more, not 0',
            "1.toml:2: services.c.listen: must be a string, not 5",
            '1.toml:3: services.c.handler: must be "module:Class", not ":"',
        ],
    ),
}  # fmt: skip


def problems(directory: Path, *texts: str) -> list[str]:
    """The lines that a file is refused with, without the directory; the others are N.toml."""
    for number, text in enumerate(texts):
        (directory / (f"{number}.toml" if number else "netd.toml")).write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(str(directory / "netd.toml"))
    return str(caught.value).replace(f"{directory}/", "").splitlines()


NEEDED: Final = {"wait": 'program = ["/bin/sh"]\n', "arguments": 'plugin = "web"\n'}
"""What a key means nothing without."""


class TestCorpus:
    @pytest.mark.parametrize(
        ("key", "value", "message"), KEYS, ids=[f"{key} = {value:.30}" for key, value, _ in KEYS]
    )
    def test_one_key(self, tmp_path: Path, key: str, value: str, message: str) -> None:
        """One broken key is one line, which names it."""
        beside = [name for name in BESIDE.get(key, GOOD) if name != key]
        rest = "".join(f"{name} = {GOOD[name]}\n" for name in beside) + NEEDED.get(key, "")
        text = f"[services.time]\n{key} = {value}\n{rest}"
        assert problems(tmp_path, text) == [f"netd.toml:2: services.time.{key}: {message}"]

    @pytest.mark.parametrize(("texts", "expected"), FILES.values(), ids=FILES)
    def test_whole_files(self, tmp_path: Path, texts: list[str], expected: list[str]) -> None:
        """Every problem of every file, in order, and nothing twice."""
        found = [line.replace(f"{tmp_path}", "") for line in problems(tmp_path, *texts)]
        assert found == expected

    @pytest.mark.parametrize(
        ("key", "value", "message"), KEYS, ids=[f"{key} = {value:.30}" for key, value, _ in KEYS]
    )
    def test_one_key_of_the_defaults(
        self, tmp_path: Path, key: str, value: str, message: str
    ) -> None:
        """The defaults are read as a service is, and say it once for all services."""
        services = "".join(
            f"[services.{name}]\nlisten = ['tcp:{name}']\nhandler = 'm:C'\n" for name in "12"
        )
        text = f"[defaults]\n{key} = {value}\n{services}"
        assert problems(tmp_path, text) == [f"netd.toml:2: defaults.{key}: {message}"]
