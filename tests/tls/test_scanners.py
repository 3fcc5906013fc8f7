"""What scanners of TLS servers find: sslscan and testssl.sh, from Debian's packages."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from netd.model.tls import Identity, Pem, Tls
from netd.tls import self_signed
from tests.tls.sides import BOTH, listening

PATIENCE: Final = 300
"""Seconds that a scan may take; testssl.sh needs 50 where nothing else runs."""

SELF_SIGNED: Final = {
    "cert_chain_of_trust",
    "cert_revocation",
    "cert_trust",
    "cert_expirationStatus",
    "cert_notAfter",
}
"""What testssl.sh says of a certificate that no authority has issued, for thirty days."""

GRAVE: Final = {"MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL"}


@pytest.fixture(scope="module")
def ports() -> Iterator[list[int]]:
    """A server on either side, with the certificate that netd makes for itself."""
    file = Pem("/own.pem", self_signed.made(datetime.datetime.now(datetime.UTC)))
    tls = Tls(Identity(file, file))
    with ExitStack() as stack:
        yield [stack.enter_context(listening(served(tls))) for served in BOTH]


@pytest.mark.skipif(shutil.which("sslscan") is None, reason="there is no sslscan")
class TestSslscan:
    """A scan in less than a second."""

    @pytest.fixture(scope="module")
    @staticmethod
    def scans(ports: list[int]) -> list[ElementTree.Element]:
        return [sslscan(port) for port in ports]

    def test_same(self, scans: list[ElementTree.Element]) -> None:
        """It cannot tell one side from the other."""
        blocking, reactor = map(facts, scans)
        assert blocking == reactor

    def test_modern(self, scans: list[ElementTree.Element]) -> None:
        """TLS 1.2 and 1.3 only, nothing weak, no renegotiation, no compression."""
        for scan in scans:
            enabled = {
                f"{each.get('type')} {each.get('version')}"
                for each in scan.iter("protocol")
                if each.get("enabled") == "1"
            }
            assert enabled == {"tls 1.2", "tls 1.3"}
            found = list(scan.iter("cipher"))
            ciphers = [each.get("cipher", "") for each in found]
            assert len(ciphers) == 6
            assert all("GCM" in cipher or "CHACHA20" in cipher for cipher in ciphers)
            assert {each.get("strength") for each in scan.iter("cipher")} <= {
                "strong",
                "acceptable",
            }
            assert {each.get("supported") for each in scan.iter("renegotiation")} == {"0"}
            assert {each.get("supported") for each in scan.iter("compression")} <= {"0"}
            assert {each.get("vulnerable") for each in scan.iter("heartbleed")} == {"0"}


def sslscan(port: int) -> ElementTree.Element:
    """What it finds on *port*."""
    done = subprocess.run(
        ["sslscan", "--no-colour", "--xml=-", f"localhost:{port}"],
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    return ElementTree.fromstring(done.stdout[done.stdout.index(b"<?xml") :])


def facts(scan: ElementTree.Element) -> list[tuple[str, list[tuple[str, str]]]]:
    """All that is not about this port and this moment."""
    return [
        (each.tag, sorted(each.items())) for each in scan.iter() if each.tag not in ("ssltest",)
    ]


@pytest.mark.skipif(shutil.which("testssl") is None, reason="there is no testssl.sh")
def test_testssl(ports: list[int], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Nothing of medium severity or worse, but that nobody has issued the certificate."""
    if not request.config.getoption("--long"):
        pytest.skip("it takes a minute: --long")
    files = [tmp_path / f"{port}.json" for port in ports]
    scans = [
        subprocess.Popen(
            ["testssl", "--quiet", "--warnings", "off", "--nodns", "none", "--color", "0",
             "--ip", "127.0.0.1", "-p", "-s", "-f", "-P", "-S", "-U",
             "--jsonfile", str(file), f"localhost:{port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for port, file in zip(ports, files, strict=True)
    ]  # fmt: skip
    for scan in scans:
        scan.wait(PATIENCE)
    for file in files:
        findings = json.loads(file.read_text())
        assert len(findings) > 50
        grave = {each["id"]: each["finding"] for each in findings if each["severity"] in GRAVE}
        assert grave.keys() <= SELF_SIGNED, grave
