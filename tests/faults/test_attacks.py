"""Attacks on what connections begin with, TLS and the headers of proxies, by every execution.

Nobody who means it is turned away, no handler is called for anybody else, and when it is over the
daemon is as it was: the same processes with as many descriptors, and no error in its log.
"""

from __future__ import annotations

import random
import re
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from netd.proxy.header import HeaderReader, InvalidHeader
from tests.faults.attackers import (
    Crowd,
    Handshake,
    Others,
    client_hello,
    descriptors,
    memory,
    raise_descriptor_limit,
    tcp_sockets,
)
from tests.faults.reporting import Progress, Report
from tests.faults.sites import LOCAL, service
from tests.integration.administered import Administered
from tests.integration.daemons import PATIENCE, Project, until
from tests.proxy.proxied import LOCAL as OF_PROXY
from tests.proxy.proxied import binary, line, summed, tlv
from tests.tls.authorities import issued

HANDLERS: Final = """
    from contextlib import suppress
    from socketserver import BaseRequestHandler
    from twisted.internet.protocol import Protocol

    class Line(BaseRequestHandler):
        def handle(self):
            with suppress(OSError):  # the client has given up
                self.request.sendall(self.request.recv(100))

    class ReactorLine(Protocol):
        def dataReceived(self, data):
            self.transport.write(data)
            self.transport.loseConnection()
"""

TIMEOUT: Final = 3.0
"""Seconds that a handshake has here."""

SLACK: Final = 8.0
"""Seconds that a loaded machine may take to close a thousand connections."""

NEEDED: Final = 10_000
"""Descriptors of a process: each service holds a thousand silent ones, and a backlog of as many."""

TLS: Final[dict[str, dict[str, Any]]] = {
    "threads": {"handler": "handlers:Line"},
    "processes": {"handler": "handlers:Line", "concurrency": "process"},
    "reactor": {"protocol": "handlers:ReactorLine"},
}
"""The services under attack, with default limits."""

MORE: Final[dict[str, dict[str, Any]]] = {
    "forks": {"handler": "handlers:Line", "concurrency": "process", "max_requests": 1},
    "program": {"program": ["/usr/bin/head", "-c5"]},
}
"""Executions that have a handshake of their own."""


class Site(Administered):
    """The daemon that the tests of this module share."""

    def begin(self) -> None:
        """Start it, and have every process there that it will have."""
        text = f'[defaults.tls]\ncertificate = "server.pem"\nhandshake_timeout = "{TIMEOUT}s"\n'
        for name in ("other.example", "*.other.example"):
            text += f'[defaults.tls.sni."{name}"]\ncertificate = "server.pem"\n'
        for name, keys in {**TLS, **MORE}.items():
            text += service(name, f"tls:0{LOCAL}", **keys)
        for name, keys in TLS.items():
            text += service(f"proxied-{name}", f"tcp:0{LOCAL}", **keys)
            text += 'proxy_protocol = {from = ["127.0.0.1"]}\n'
        self.project.handlers(HANDLERS)
        leaf = issued("host.example", "other.example", "*.other.example")
        leaf.private_key_and_cert_chain_pem.write_to_path(str(self.directory / "server.pem"))
        self.start(text)

    def others(self, *services: str) -> Others:
        """Clients of *services* who want to be served."""
        return Others({name: self.address(name) for name in services or TLS})

    def counts(self, name: str) -> tuple[int, int, int]:
        """How many a service has served, refused, and failed to serve."""
        found = self.service(name)
        return found["served"], found["refused"], found["failed"]

    def has_counted(
        self,
        name: str,
        before: tuple[int, int, int],
        others: Others,
        least: int,
        most: int | None = None,
    ) -> None:
        """See that of the attackers, so many, each was refused, and nobody else but *others*."""
        served, refused, failed = before
        until(lambda: self.counts(name)[1] >= refused + least, "all have been counted")
        now = self.counts(name)
        assert now[0] == served + others.served[name]
        assert now[1] <= refused + (most or least) + others.failed[name]
        assert now[2] == failed

    def processes(self) -> set[int]:
        """The processes that must outlive everything: not those which come and go with clients."""
        coming_and_going = {*self.pids("processes"), *self.pids("proxied-processes")}
        return {self.daemon.pid, self.daemon.fork_server(), *self.daemon.workers()} - (
            coming_and_going | set(self.pids("forks"))
        )

    def open(self) -> dict[int, int]:
        """How many descriptors each of these has; of the daemon and its fork server TCP sockets.

        Those have pipes to processes that come and go.
        """
        pids = self.processes()
        parents = {self.daemon.pid, self.daemon.fork_server()}
        return descriptors(pids - parents) | {pid: tcp_sockets(pid) for pid in parents}


@pytest.fixture(scope="module")
def shared() -> Iterator[Site]:
    if not raise_descriptor_limit(NEEDED):
        pytest.skip(f"a process must not have {NEEDED} descriptors")
    directory = Path(tempfile.mkdtemp(prefix="netd-"))
    site = Site(Project(directory))
    site.begin()
    yield site
    site.project.clean_up()
    shutil.rmtree(directory)


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    """The daemon, which has to be after the test what it was before."""
    warm_up = shared.others(*TLS, *MORE)
    for name in (*TLS, *MORE):
        warm_up.ask(name)
    processes, before = shared.processes(), shared.open()
    seen = len(shared.daemon.log.lines)
    yield shared
    assert shared.processes() == processes
    until(lambda: _is_back(shared.open(), before), "the descriptors are back")
    wrong = re.compile(r"Traceback|Unhandled|#error\]|#critical\]")
    assert not [line for line in shared.daemon.log.lines[seen:] if wrong.search(line)]
    for name in (*TLS, *MORE):
        warm_up.ask(name)


def _is_back(now: dict[int, int], before: dict[int, int]) -> bool:
    """Whether no process has more open than it had."""
    return all(now[pid] <= before[pid] for pid in before)


@pytest.mark.long
def test_silent_clients(site: Site, is_long: bool, progress: Progress, report: Report) -> None:
    """5 000 for each service at once: one half says nothing, the other stops after its hello."""
    count = 20_000 if is_long else 5_000
    before = {name: site.counts(name) for name in TLS}
    addresses = [site.address(name) for name in TLS]
    hello = client_hello()
    with site.others().at_work() as others, Crowd() as crowd:
        began = time.monotonic()
        for number in range(count):
            for address in addresses:
                crowd.join(address, hello if number % 2 else b"")
            progress.at(number, count)
        joined = time.monotonic() - began
        crowd.wait_until_empty(TIMEOUT + SLACK)
    served, failed = others.served.total(), others.failed.total()
    report.say(
        silent=crowd.turned_away,
        seconds_to_join=f"{joined:.1f}",
        seconds_inside_at_most=f"{crowd.longest:.1f}",
        others_served=dict(others.served),
        failed=dict(others.failed),
        seconds_at_most=f"{others.longest:.1f}",
    )
    assert crowd.turned_away == 3 * count
    assert crowd.longest < TIMEOUT + SLACK
    assert min(others.served[name] for name in TLS) > 10
    assert failed <= served // 100, others.failures
    for name, counts in before.items():
        site.has_counted(name, counts, others, count)


@pytest.mark.long
@pytest.mark.parametrize(
    ("version", "by_reset"),
    [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, False)],
    ids=["1.2-reset", "1.3-closed"],
)
def test_handshakes_cut_at_every_byte(
    site: Site, report: Report, version: ssl.TLSVersion, *, by_reset: bool
) -> None:
    """Of both flights of the client; by every execution at once."""
    addresses = {name: site.address(name) for name in (*TLS, *MORE)}

    def cut_all(name: str) -> int:
        with closing(Handshake(addresses[name], version)) as whole:
            lengths = len(whole.hello), len(whole.answer())
        for flight, length in [(n, at) for n in (0, 1) for at in range(lengths[n])]:
            with closing(Handshake(addresses[name], version)) as handshake:
                words = handshake.answer() if flight else handshake.hello
                handshake.say(words[:length])
                if by_reset:
                    handshake.reset()
        return sum(lengths) + 1

    before = {name: site.counts(name) for name in addresses}
    with site.others(*addresses).at_work() as others, ThreadPoolExecutor(5) as threads:
        cuts = dict(zip(addresses, threads.map(cut_all, addresses), strict=True))
    assert not others.failures
    report.say(cuts=sum(cuts.values()), others_served=others.served.total())
    for name, counts in before.items():
        # Who has reset his connection before it was taken has never been there: accept(2).
        least = cuts[name] // 2 if by_reset else cuts[name]
        site.has_counted(name, counts, others, least, cuts[name])


@pytest.mark.long
def test_renegotiation(site: Site) -> None:
    """A client that asks for it (RFC 5246, 7.4.1.1) gets none, and nobody else notices."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    with site.others().at_work() as others:
        for name in TLS:
            host, port = site.address(name)
            done = subprocess.run(
                [openssl, "s_client", "-connect", f"{host}:{port}", "-tls1_2"],
                input=b"R\n",
                capture_output=True,
                timeout=PATIENCE,
            )
            assert b"RENEGOTIATING" in done.stdout + done.stderr
            assert b"no renegotiation" in done.stderr
    assert not others.failures


@pytest.mark.long
def test_unknown_server_names(site: Site, is_long: bool, report: Report) -> None:
    """10 000 of them, by every execution: each gets the service's own certificate.

    Nothing is kept of a name.
    """
    count = 10_000 if is_long else 1_000
    names = [f"host-{number}.unknown.example" for number in range(count)]

    def ask(number: int) -> None:
        with closing(Handshake(addresses[number % 3], name=names[number])) as handshake:
            handshake.say(handshake.answer())
            assert "host.example" in handshake.shown

    addresses = [site.address(name) for name in TLS]
    with site.others().at_work() as others, ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(300)))
        before = memory(site.processes())
        began = time.monotonic()
        list(threads.map(ask, range(300, count)))
        seconds = time.monotonic() - began
        grown = max(each - before[pid] for pid, each in memory(before).items())
    assert not others.failures
    report.say(unknown_names=count, seconds=f"{seconds:.1f}", KiB_grown=grown >> 10)
    assert grown < 2 << 20


@pytest.mark.long
def test_headers_of_proxies(site: Site, is_long: bool, progress: Progress, report: Report) -> None:
    """100 000 that are spoilt: as many handlers are called as there are headers among them.

    What a header is says the parser, whose own tests are about that.
    """
    count = 100_000 if is_long else 8_000
    drawn = random.Random(42)
    names = [f"proxied-{name}" for name in TLS]
    addresses = {name: site.address(name) for name in names}
    before = {name: site.counts(name) for name in names}
    wanted = dict.fromkeys(names, 0)
    sent = dict.fromkeys(names, 0)
    with site.others().at_work() as others, Crowd() as crowd:
        for number in range(count):
            header = spoilt(drawn)
            name = names[number % 3]
            sent[name] += 1
            wanted[name] += is_header(header)
            crowd.join(addresses[name], header, is_last=True)
            crowd.wait_for_room(200)
            progress.at(number, count)
        crowd.wait_until_empty(PATIENCE)
    assert not others.failures
    for name in names:
        served, refused, failed = before[name]
        until(
            lambda name=name, all_=served + refused + sent[name]: (
                sum(site.counts(name)[:2]) >= all_
            ),
            "all have been counted",
        )
        assert site.counts(name) == (
            served + wanted[name],
            refused + sent[name] - wanted[name],
            failed,
        )
    report.say(headers=count, still_right=sum(wanted.values()))


FOUR: Final = ("192.0.2.7", 4711), ("198.51.100.1", 443)
SIX: Final = ("2001:db8::7", 4711, 0, 0), ("2001:db8::1", 443, 0, 0)

RIGHT: Final = (
    line(*FOUR),
    line(*SIX),
    binary(*FOUR),
    binary(*SIX, [(2, b"host.example"), (0x20, b"\1\0\0\0\0" + tlv(0x21, b"TLSv1.3"))]),
    binary("/run/client", "/run/service"),
    summed(binary(*FOUR, [(5, b"unique")])),
    binary(*FOUR, command=OF_PROXY),
    binary(),
)
"""Headers to spoil."""


def spoilt(drawn: random.Random) -> bytes:
    """A header with something wrong, most likely."""
    header = bytearray(drawn.choice(RIGHT))
    match drawn.randrange(6):
        case 0:
            del header[drawn.randrange(len(header)) :]
        case 1:
            at = drawn.randrange(len(header))
            header[at:at] = drawn.randbytes(drawn.randint(1, 300))
        case 2:
            at = drawn.randrange(len(header))
            del header[at : at + drawn.randint(1, 8)]
        case 3:
            header = bytearray(drawn.choice(RIGHT)[: drawn.randrange(20)]) + header
        case _:
            for _ in range(drawn.randint(1, 3)):
                header[drawn.randrange(len(header))] = drawn.randrange(256)
    return bytes(header)


def is_header(data: bytes) -> bool:
    """Whether it begins with a whole header."""
    reader = HeaderReader()
    with suppress(InvalidHeader):
        reader.feed(data)
    return reader.header is not None
