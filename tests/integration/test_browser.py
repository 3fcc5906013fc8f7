"""A real browser, Chromium, as a client of TLS services."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.integration.daemons import Project, RunningDaemon
from tests.integration.test_time_server import CONF, is_time
from tests.tls.authorities import issued

LONGEST: Final = 90
"""Seconds for a browser on a machine with other things to do."""

CONFIGURATION: Final = """
[defaults]
tls = {{certificate = "server.pem", alpn = ["http/1.1"]}}

[services.threads]
handler = "http.server:SimpleHTTPRequestHandler"
options = {{directory = "{pages}"}}
listen = ["tls:0:interface=127.0.0.1"]

[services.processes]
handler = "http.server:SimpleHTTPRequestHandler"
options = {{directory = "{pages}"}}
listen = ["tls:0:interface=127.0.0.1"]
concurrency = "process"

[services.time]
handler = "tlstime:TlsTimeServer"
listen = ["tls:0:interface=127.0.0.1"]
"""

PAGE: Final = """<!doctype html>
<title>A page</title>
<link rel="stylesheet" href="style.css">
<p id="text">plain</p>
<script src="script.js"></script>
"""

SCRIPT: Final = """
const text = document.getElementById("text");
text.textContent = "script and " + getComputedStyle(text).fontWeight;
"""


class Browser:
    """Chromium without a window, with a profile of its own, which trusts one key more."""

    def __init__(self, profile: Path, key: str) -> None:
        program = shutil.which("chromium")
        if program is None:
            pytest.skip("there is no chromium")
        self._command = [
            program,
            "--headless",
            "--no-sandbox",  # which root does not get
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={profile}",
            f"--ignore-certificate-errors-spki-list={key}",
            "--dump-dom",
        ]

    def load(self, url: str) -> str:
        """The page, after its scripts have run."""
        done = subprocess.run(
            [*self._command, url], capture_output=True, text=True, timeout=LONGEST, check=True
        )
        return done.stdout


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="netd-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def browser(directory: Path) -> Browser:
    leaf = issued("localhost", "127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(directory / "server.pem"))
    certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(key).digest()
    return Browser(directory / "profile", base64.b64encode(digest).decode())


@pytest.fixture(scope="module")
def daemon(directory: Path, browser: Browser) -> Iterator[RunningDaemon]:
    project = Project(directory)
    shutil.copy(CONF / "handlers" / "tlstime.py", directory / "handlers")
    pages = directory / "pages"
    pages.mkdir()
    (pages / "index.html").write_text(PAGE)
    (pages / "style.css").write_text("p { font-weight: 700 }")
    (pages / "script.js").write_text(SCRIPT)
    project.configure(CONFIGURATION.format(pages=pages))
    yield project.start()
    project.clean_up()


def load(browser: Browser, daemon: RunningDaemon, service: str) -> str:
    host, port = daemon.address("tls", service)
    return browser.load(f"https://{host}:{port}/")


@pytest.mark.sweep
@pytest.mark.parametrize("service", ["threads", "processes"])
def test_a_page(browser: Browser, daemon: RunningDaemon, service: str) -> None:
    """With a style and a script, by the standard library's handler of HTTP."""
    assert ">script and 700<" in load(browser, daemon, service)
    daemon.log.wait(rf"\[{service}#info\] \S+ tls served")


def test_the_time(browser: Browser, daemon: RunningDaemon) -> None:
    """By the shipped server."""
    shown = re.search(r"<pre.*?>(.*)</pre>", load(browser, daemon, "time"), re.DOTALL)
    assert shown is not None
    assert is_time(shown[1].strip().encode() + b"\r\n")
