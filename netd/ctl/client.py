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
    """Nobody answers at the admin socket; the text says where, and why."""


@dataclass(frozen=True)
class Reply:
    """What the daemon says."""

    ok: bool
    values: Any

    @property
    def problems(self) -> list[str]:
        """Why something was not done."""
        return list(self.values.get("problems", [])) if isinstance(self.values, dict) else []


class Client:
    """Asks the daemon at the Unix socket *path*; one connection a question."""

    def __init__(self, path: str) -> None:
        self._path = path

    def see(self, what: str, **query: str) -> Reply:
        """Look at something. Raises NoDaemon."""
        return self._ask("GET", what, query)

    def do(self, what: str, **query: str) -> Reply:
        """Have something done; returns when it is. Raises NoDaemon."""
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
    """HTTP over a Unix socket, whose path may be longer than such a path can be."""

    def __init__(self, path: str) -> None:
        super().__init__("netd")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(os.path.relpath(self._path) if len(self._path) > 100 else self._path)
