"""What the proof is made on: services of every kind, and ways to change and to break them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from tests.faults.loads import Target

LOCAL: Final = ":interface=127.0.0.1"

HANDLERS: Final = """
    import os
    from socketserver import BaseRequestHandler, StreamRequestHandler
    from twisted.internet.protocol import DatagramProtocol, Protocol

    class Line(BaseRequestHandler):
        def handle(self):
            if isinstance(self.request, tuple):
                data, sock = self.request
                sock.sendto(data, self.client_address)
            else:
                self.request.sendall(self.request.recv(100))

    class Echo(StreamRequestHandler):
        def handle(self):
            while data := self.request.recv(65536):
                self.request.sendall(data)

    class ReactorLine(Protocol):
        def dataReceived(self, data):
            self.transport.write(data)
            self.transport.loseConnection()

    class ReactorEcho(Protocol):
        def dataReceived(self, data):
            self.transport.write(data)

    class ReactorDatagrams(DatagramProtocol):
        def datagramReceived(self, data, address):
            self.transport.write(data, address)
"""


def service(name: str, *listen: str, **keys: object) -> str:
    """A table of a service."""
    lines = [f"[services.{name}]", f"listen = {list(listen)}".replace("'", '"')]
    for key, value in keys.items():
        written = json.dumps(value)
        lines.append(f"{key} = {written}")
    return "\n".join(lines) + "\n"


def every_kind(turn: int = 0, processes: int = 4) -> str:
    """Services by threads, processes and the reactor; each *turn* they have all changed."""
    memory = 1 << 40 if turn % 2 else 1 << 41  # a bound that nobody comes to
    return "".join(
        [
            '[daemon]\ngraceful_timeout = "1h"\n[log]\nconnections = false\n',
            service(
                "threads",
                f"tcp:0{LOCAL}",
                "unix:threads",
                f"udp:0{LOCAL}",
                handler="handlers:Line",
                threads=20 + turn % 2,
            ),
            service(
                "processes",
                f"tcp:0{LOCAL}",
                "unix:processes",
                handler="handlers:Line",
                concurrency="process",
                processes=processes,
                max_memory=memory,
            ),
            service(
                "reactor",
                f"tcp:0{LOCAL}",
                "unix:reactor",
                protocol="handlers:ReactorLine",
                max_memory=memory,
            ),
            service(
                "datagrams",
                f"udp:0{LOCAL}",
                protocol="handlers:ReactorDatagrams",
                max_memory=memory,
            ),
        ]
    )


TARGETS: Final = (
    Target("threads", 0),
    Target("threads", 1),
    Target("threads", 2),
    Target("processes", 0, 4),
    Target("processes", 1, 4),
    Target("reactor", 0),
    Target("reactor", 1),
    Target("datagrams", 0),
)
"""Every listener of ``every_kind``."""


def lighter(targets: Iterable[Target]) -> list[Target]:
    """The same with a client each."""
    return [replace(target, clients=1) for target in targets]


BROKEN: Final = (
    ("syntax", "import os\nthis is no Python\n", ""),
    ("import", "import no_such_module\n", ""),
    ("raise", "raise RuntimeError('no')\n", ""),
    ("exit", "import sys\nsys.exit(1)\n", ""),
    ("crash", "import os\nos.abort()\n", ""),
    ("nothing", "x = 1\n", ""),
    (
        "server",
        "from socketserver import *\nclass Line(BaseRequestHandler): pass\n"
        "class Server(TCPServer):\n    def __init__(self, *_):\n        raise OSError('no')\n",
        'server = "broken:Server"\n',
    ),
    (
        "worker",
        "import os\nfrom socketserver import *\nclass Line(BaseRequestHandler): pass\n"
        "class Server(TCPServer):\n    def __init__(self, *_):\n        os._exit(1)\n",
        'server = "broken:Server"\n',
    ),
    ("key", "", "thread = 7\n"),
    ("toml", "", "]]\n"),
)
"""Ways in which a service can be broken: a module, and keys."""
