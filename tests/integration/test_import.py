"""From a line of inetd.conf to a running service, by ``netdctl import``."""

from __future__ import annotations

import os
import pwd
import socket

import pytest

from tests.integration.daemons import PATIENCE, Project, netdctl, read_all


def ask(path: str, request: bytes) -> bytes:
    """Send a request to a Unix socket, and return the whole answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


@pytest.mark.long
def test_programs_run_as_inetd_ran_them(project: Project) -> None:
    """By their own name, or by another one that the line gives."""
    user = pwd.getpwuid(os.getuid()).pw_name
    line = f"stream unix nowait {user} /bin/cat"
    own, other = (str(project.directory / name) for name in ("own.sock", "other.sock"))
    conf = project.directory / "inetd.conf"
    conf.write_text(f"{own} {line} cat -\n{other} {line} named -u /proc/self/cmdline\n")
    done = netdctl("import", str(conf))
    assert (done.returncode, done.stderr) == (0, "")
    project.configure(done.stdout)
    daemon = project.start()
    assert ask(own, b"what comes in\n") == b"what comes in\n"
    assert ask(other, b"") == b"named\0-u\0/proc/self/cmdline\0"
    assert daemon.stop() == 0
