"""netdctl's end of the admin socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


class NoDaemon(Exception):
    """No daemon answers at the admin socket; the text says where, and why."""


@dataclass(frozen=True)
class Reply:
    """An answer of the daemon."""

    ok: bool
    values: Any
    """JSON, as ``netd.admin.api`` defines it for each command."""

    @property
    def problems(self) -> list[str]:
        """Why the command failed."""
        return list(self.values.get("problems", [])) if isinstance(self.values, dict) else []


class Client:
    """A client of the daemon at the Unix socket *path*. Each request has its own connection."""

    def __init__(self, path: str) -> None:
        self._path = path

    def see(self, what: str, **query: str) -> Reply:
        """Return the resource *what*. Raises NoDaemon."""
        return self._ask("GET", what, query)

    def do(self, what: str, **query: str) -> Reply:
        """Run the command *what*, and wait until it is done. Raises NoDaemon."""
        return self._ask("POST", what, query)

    def _ask(self, method: str, what: str, query: dict[str, str]) -> Reply:
        connection = _UnixConnection(self._path)
        target = f"/api/{what}" + (f"?{urlencode(query)}" if query else "")
        try:
            connection.request(method, target)
            response = connection.getresponse()
            return Reply(response.status == http.client.OK, json.loads(response.read()))
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NoDaemon(f"no netd answers at {self._path}: {why}") from error
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket.

    A path over 107 bytes does not fit into a socket address; relative to the current directory it
    may.
    """

    def __init__(self, path: str) -> None:
        super().__init__("netd")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(os.path.relpath(self._path) if len(self._path) > 100 else self._path)
