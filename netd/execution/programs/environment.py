"""The environment variables that describe a connection to its program, as in UCSPI and inetd."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from netd.execution.blocking_tls import TlsSocket
from netd.execution.request import Request
from netd.model.address import Transport
from netd.model.peer import PeerCertificate
from netd.tls.environment import environment as tls_environment
from netd.tls.peer import ClientCertificate

_OF_A_CONNECTION: Final = (
    "PROTO", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPLOCALIP", "TCPLOCALPORT", "REMOTE_ADDR",
    "REMOTE_PORT", "TCPREMOTEHOST", "TCPREMOTEINFO", "TCPLOCALHOST", "UNIXLOCALPATH",
    "UNIXREMOTEEUID", "UNIXREMOTEEGID", "UDPLOCALIP", "UDPLOCALPORT",
    "HTTPS", "SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI",
)  # fmt: skip
"""Variables that describe a connection: those of UCSPI, of TLS, and netd's own. A program does not
inherit them from the daemon's environment."""


def _is_of_a_connection(name: str) -> bool:
    return name in _OF_A_CONNECTION or name.startswith("SSL_CLIENT_")


def environment_of(
    transport: Transport, request: Request | None, local: Any, base: Mapping[str, str]
) -> dict[str, str]:
    """Make the environment of a program; a *request* of None is for the listening socket.

    *local* is the connection's own address. The names are those of ucspi-tcp and ucspi-unix.
    """
    names = {key: value for key, value in base.items() if not _is_of_a_connection(key)}
    if transport.is_unix:
        names |= {"PROTO": "UNIX", "UNIXLOCALPATH": _path_text(local)}
        if request is not None and request.peer is not None:
            names["UNIXREMOTEEUID"] = str(request.peer.uid)
            names["UNIXREMOTEEGID"] = str(request.peer.gid)
        return names
    proto = "UDP" if transport.is_datagram else "TCP"
    names |= {"PROTO": proto, f"{proto}LOCALIP": local[0], f"{proto}LOCALPORT": str(local[1])}
    if request is not None:
        host, port = request.client_address[:2]
        names |= {"TCPREMOTEIP": host, "TCPREMOTEPORT": str(port)}
        names |= {"REMOTE_ADDR": host, "REMOTE_PORT": str(port)}
    return names


def _tls_environment(connection: TlsSocket, certificate: PeerCertificate | None) -> dict[str, str]:
    cipher = connection.cipher()
    return tls_environment(
        connection.version(),
        None if cipher is None else cipher[0],
        connection.asked_name,
        certificate if isinstance(certificate, ClientCertificate) else None,
    )


def _path_text(name: Any) -> str:
    """A Unix socket's name: an abstract one with an ``@`` for its NUL."""
    if isinstance(name, bytes):
        return "@" + name[1:].decode(errors="replace") if name[:1] == b"\0" else os.fsdecode(name)
    return str(name)
