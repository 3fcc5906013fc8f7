"""A certificate that the daemon makes for itself: when, and when not."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

from netd.ctl.certificate import Endpoint, ask
from netd.tls import self_signed
from tests.integration.administered import Administered
from tests.integration.daemons import netdctl

SERVICE = """
    [services.tls]
    handler = "socketserver:StreamRequestHandler"
    listen = ["tls:0:interface=127.0.0.1"]
    tls.self_signed = "run/own.pem"
"""


def presented(administered: Administered, trusted: Path) -> list[str]:
    """What is wrong with what the service presents, for who trusts that file."""
    endpoint = Endpoint(*administered.address("tls"))
    return list(ask(endpoint, "localhost", str(trusted)).presented.problems())


def test_made_when_it_is_needed(administered: Administered) -> None:
    """By a start and by a reload, if it is missing or has expired; never by a look."""
    file = administered.directory / "run" / "own.pem"
    administered.configure(SERVICE)
    assert netdctl("check", str(administered.project.file)).returncode == 0
    assert not file.exists()

    daemon = administered.start(SERVICE)
    first = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert presented(administered, file) == []
    assert set(administered.reload_well().values()) == {"keep"}
    assert file.read_bytes() == first

    now = datetime.datetime.now(datetime.UTC)
    file.write_bytes(self_signed.made(now - 2 * self_signed.LIFETIME))
    planned = netdctl("--socket", str(administered.admin_socket), "plan")
    assert f"change tls: {file}\n" in planned.stdout
    assert self_signed.needs_making(file.read_bytes(), now)
    assert set(administered.reload_well().values()) == {"change"}
    assert not self_signed.needs_making(file.read_bytes(), now)
    assert presented(administered, file) == []

    file.write_bytes(b"something that somebody needs\n")
    reply = administered.reload()
    assert not reply.ok
    assert any(f"self_signed: {file} is not a self-signed" in each for each in reply.problems)
    assert file.read_bytes() == b"something that somebody needs\n"
    assert daemon.stop() == 0
