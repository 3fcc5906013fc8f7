"""What Debian has: the files of its xinetd, and the lines that its packages give to inetd.conf."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from netd.config.load import load
from netd.ctl.inetd.command import Imported, imported
from netd.ctl.inetd.machine import ThisMachine
from tests.ctl.inetd.machines import FakeMachine, StrictMachine, import_text

VARIABLE: Final = "NETD_XINETD_ROOT"
"""Where Debian's package xinetd is unpacked. What is installed may have been changed."""


class Unpacked(ThisMachine):
    """This machine, with the files of another root."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _below(self, path: str) -> str:
        return str(self._root / path.lstrip("/"))

    def read(self, file: str) -> bytes:
        return super().read(self._below(file))

    def listing(self, directory: str) -> list[str] | None:
        return super().listing(self._below(directory))

    def identity(self, file: str) -> str:
        return super().identity(self._below(file))

    def wrapper_rules(self) -> tuple[str, ...]:
        return ()


@pytest.fixture(scope="module")
def root() -> Path:
    found = Path(os.environ.get(VARIABLE, os.devnull))
    if not (found / "etc/xinetd.d").is_dir():
        pytest.skip(f"Debian's package xinetd is not unpacked (dpkg-deb -x) where {VARIABLE} says")
    return found


@pytest.fixture(scope="module")
def of_xinetd(root: Path) -> Imported:
    """The configuration of xinetd as it is installed, by its one file."""
    return imported(["/etc/xinetd.conf"], Unpacked(root))


def services(found: Imported) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(found.text)["services"]
    return table


class TestXinetd:
    def test_is_read_without_a_problem(self, root: Path, of_xinetd: Imported) -> None:
        """Each of its files says at least one service."""
        assert of_xinetd.problems == ()
        for file in (root / "etc/xinetd.d").iterdir():
            assert f"# From /etc/xinetd.d/{file.name}:" in of_xinetd.text

    def test_every_service_is_carried_over_or_named(self, root: Path, of_xinetd: Imported) -> None:
        """As many as the files have."""
        files = (root / "etc/xinetd.d").iterdir()
        entries = sum(len(re.findall("(?m)^service ", file.read_text())) for file in files)
        left_out = of_xinetd.text.count("\n# Left out: ")
        assert len(services(of_xinetd)) + left_out == entries

    def test_the_small_services_are_there_and_off(self, of_xinetd: Imported) -> None:
        """For both transports, as Debian has them."""
        found = services(of_xinetd)
        ports = {"echo": 7, "discard": 9, "daytime": 13, "chargen": 19, "time": 37}
        for name, port in ports.items():
            assert found[f"{name}-stream"] == {
                "enabled": False,
                "listen": [f"tcp:{port}", f"tcp6:{port}"],
                "handler": name,
            }
            assert found[f"{name}-dgram"]["listen"] == [f"udp:{port}", f"udp6:{port}"]
        assert not any(table.get("enabled", True) for table in found.values())

    def test_netd_takes_it(self, tmp_path: Path, of_xinetd: Imported) -> None:
        """Off as they are, and switched on one by one."""
        file = tmp_path / "netd.toml"
        file.write_text(of_xinetd.text)
        assert load(str(file)).services == ()
        for name, table in services(of_xinetd).items():
            written = f"[services.{name}]\nenabled = "
            file.write_text(of_xinetd.text.replace(f"{written}false", f"{written}true"))
            (service,) = load(str(file)).services
            assert [str(address) for address in service.listen] == table["listen"]


# What the packages below hand to update-inetd(8), as lines of the file that it keeps.
INETD: Final = r"""
# inetd.conf: what update-inetd(8) and you have put here
#:INTERNAL: Internal services
#discard		stream	tcp6	nowait	root	internal

#:STANDARD: These are standard services.
#<off># telnet	stream	tcp	nowait	root	/usr/sbin/tcpd	/usr/sbin/telnetd
www	stream	tcp	nowait nobody:www-data	/usr/sbin/tcpd /usr/sbin/micro-httpd /var/www/html

#:BSD: Shell, login, exec and talk are BSD protocols.
shell		stream	tcp	nowait	root	/usr/sbin/tcpd	/usr/sbin/in.rshd
talk		dgram	udp	wait	nobody.tty	/usr/sbin/in.talkd	in.talkd
ntalk	dgram	udp4	wait	root	/usr/sbin/tcpd	/usr/sbin/talkd

#:INFO: Info services
finger		stream	tcp	nowait	nobody	/usr/sbin/tcpd	/usr/sbin/in.fingerd
ident		stream	tcp	nowait	identd /usr/sbin/ident2 ident2 -i -n
auth		stream	tcp	nowait	nobody	/usr/sbin/nullidentd	nullidentd

#:RPC: RPC based services
rusersd/2-3	dgram	rpc/udp	wait	nobody	/usr/sbin/tcpd	/usr/sbin/rpc.rusersd

#:OTHER: Other services
amanda stream tcp nowait backup /usr/lib/amanda/amandad amandad -auth=bsdtcp amdump
cvspserver	stream	tcp	nowait	root	/usr/sbin/tcpd	/usr/bin/cvs -f pserver
"""

DEBIANS_PORTS: Final = {
    ("www", "tcp"): 80,
    ("shell", "tcp"): 514,
    ("talk", "udp"): 517,
    ("ntalk", "udp"): 518,
    ("finger", "tcp"): 79,
    ("ident", "tcp"): 113,
    ("auth", "tcp"): 113,
    ("amanda", "tcp"): 10080,
    ("cvspserver", "tcp"): 2401,
}


class TestInetd:
    def test_every_line_is_carried_over_or_named(self) -> None:
        """Those that are switched off are comments."""
        result = import_text(INETD, FakeMachine(ports=DEBIANS_PORTS))
        assert result.problems == []
        names = ["www", "shell", "talk", "ntalk", "finger", "ident", "auth", "amanda"]
        assert list(result.services) == [*names, "cvspserver"]
        assert "Left out: rusersd: it is an RPC service" in result.comments

    def test_netd_takes_it(self, tmp_path: Path) -> None:
        """What this machine does not have is a comment."""
        file = tmp_path / "netd.toml"
        text = f"{INETD}mine stream tcp nowait.60 root /bin/cat cat\n"
        ports = {**DEBIANS_PORTS, ("mine", "tcp"): 2000}
        file.write_text(import_text(text, StrictMachine(ports=ports)).text)
        found = {service.name for service in load(str(file)).services}
        assert {"mine"} <= found <= {"mine", *(name for name, _ in DEBIANS_PORTS)}

    def test_two_packages_for_one_port_do_not_get_in_each_others_way(self) -> None:
        """The first has it."""
        table = import_text(INETD, FakeMachine(ports=DEBIANS_PORTS)).services
        off = [name for name in table if not table[name].get("enabled", True)]
        assert off == ["auth"]

    @pytest.mark.parametrize(
        ("name", "own_name", "rest"),
        [
            ("www", "/usr/sbin/micro-httpd", ["/usr/sbin/tcpd", "/var/www/html"]),
            ("ntalk", "/usr/sbin/talkd", ["/usr/sbin/tcpd"]),
            ("cvspserver", "/usr/bin/cvs", ["/usr/sbin/tcpd", "-f", "pserver"]),
        ],
    )
    def test_tcpd_is_told_what_to_run(self, name: str, own_name: str, rest: list[str]) -> None:
        """By its own name, and asks its rules before it does."""
        table = import_text(INETD, FakeMachine(ports=DEBIANS_PORTS)).services[name]
        assert table["program"] == ["/bin/bash", "-c", 'exec -a "$0" -- "$@"', own_name, *rest]

    def test_the_others_are_started_as_they_are(self) -> None:
        """With their arguments, users and groups."""
        table = import_text(INETD, FakeMachine(ports=DEBIANS_PORTS)).services
        assert table["talk"] == {
            "listen": ["udp:517", "udp6:517"],
            "program": ["/usr/sbin/in.talkd"],
            "wait": True,
            "user": "nobody",
            "group": "tty",
        }
        assert table["amanda"] == {
            "listen": ["tcp:10080", "tcp6:10080"],
            "program": ["/usr/lib/amanda/amandad", "-auth=bsdtcp", "amdump"],
            "user": "backup",
        }
