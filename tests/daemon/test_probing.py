"""``netd.daemon.probing``: what the daemon asks a probe, and what it makes of the answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netd.daemon.probing import ask, faults, misfit
from netd.listening.description import parse
from netd.values.probe import Answer, Facts, Fault, Requests
from netd.values.service import Access, Configuration, Owner, Reference, Service

STREAM = "from socketserver import StreamRequestHandler\nclass H(StreamRequestHandler): pass\n"

STREAMS = ["tcp:10037", "tcp6:10037", "unix:/run/s"]
DATAGRAMS = ["udp:10037", "udp6:10037", "unixgram:/run/s"]


def service(
    name: str = "s",
    handler: str = "m:H",
    listen: tuple[str, ...] = ("tcp:0",),
    verify: str | None = None,
    owner: Owner = Owner(),  # noqa: B008
) -> Service:
    verify_request = Reference(*verify.split(":")) if verify else None
    return Service(
        name,
        tuple(map(parse, listen)),
        Reference(*handler.split(":")),
        name,
        access=Access(verify_request=verify_request),
        owner=owner,
    )


def answers(
    directory: Path,
    *services: Service,
    as_whom: Owner = Owner(),  # noqa: B008
) -> dict[str, Answer]:
    configuration = Configuration("netd.toml", services, (str(directory),))
    return ask(configuration, as_whom)


class TestAsk:
    def test_answers_by_service(self, tmp_path: Path) -> None:
        """Each service has its answer, by its name."""
        (tmp_path / "m.py").write_text(STREAM)
        (tmp_path / "rules.py").write_text("def admit(*_): ...\n")
        found = answers(
            tmp_path,
            service("b"),
            service("a", handler="n:H"),
            service("c", verify="rules:admit"),
            service("d", verify="rules:admti"),
        )
        files = [str(tmp_path / name) for name in ("m.py", "rules.py")]
        assert found["b"] == Facts("b", "stream", (files[0],))
        assert found["a"] == Fault("a", "handler", f'there is no module "n" ({tmp_path})')
        assert found["c"] == Facts("c", "stream", tuple(files))
        assert isinstance(found["d"], Fault)
        assert found["d"].key == "access.verify_request"

    def test_nothing_to_ask(self, tmp_path: Path) -> None:
        """Without services no process is started, so that it cannot fail either."""
        assert answers(tmp_path) == {}

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_as_whom(self, tmp_path: Path) -> None:
        """A service that names nobody is imported as twistd will run; another one as it says."""
        (tmp_path / "m.py").write_text("import os\nraise OSError(os.getresgid()[0])\n")
        own = service("own", owner=Owner(gid=1234))
        found = answers(tmp_path, service("none"), own, as_whom=Owner(gid=65534))
        for name, gid in (("none", 65534), ("own", 1234)):
            one = found[name]
            assert isinstance(one, Fault)
            assert one.message.endswith(f"m.py:2: OSError: {gid}")

    def test_probe_dies(self, tmp_path: Path) -> None:
        """A module that kills the probe itself is not taken for an answer."""
        (tmp_path / "m.py").write_text("import os\nos.kill(os.getppid(), 9)\n")
        with pytest.raises(OSError, match=r"^the probe process ended with signal SIGKILL$"):
            answers(tmp_path, service())


class TestMisfit:
    @pytest.mark.parametrize("listen", STREAMS + DATAGRAMS)
    def test_a_handler_of_any_requests(self, listen: str) -> None:
        """A BaseRequestHandler sorts its requests out by itself."""
        assert misfit(service(listen=(listen,)), "any") is None

    @pytest.mark.parametrize(
        ("requests", "fitting"), [("stream", STREAMS), ("datagram", DATAGRAMS)]
    )
    def test_fits(self, requests: Requests, fitting: list[str]) -> None:
        """A handler of one kind of requests serves all listeners of that kind."""
        assert misfit(service(listen=tuple(fitting)), requests) is None

    @pytest.mark.parametrize("listen", DATAGRAMS)
    def test_stream_handler(self, listen: str) -> None:
        """A StreamRequestHandler has nothing to read from a datagram, and it is said where."""
        assert misfit(service(listen=("tcp:10037", listen)), "stream") == (
            '"m:H" is a socketserver.StreamRequestHandler and cannot serve datagrams, '
            f"which {listen} listens for"
        )

    @pytest.mark.parametrize("listen", STREAMS)
    def test_datagram_handler(self, listen: str) -> None:
        """A DatagramRequestHandler cannot unpack a connection, and it is said where."""
        assert misfit(service(listen=("udp:10037", listen)), "datagram") == (
            '"m:H" is a socketserver.DatagramRequestHandler and cannot serve streams, '
            f"which {listen} listens for"
        )


class TestFaults:
    def test_in_the_order_of_the_services(self) -> None:
        """What the probe found and what does not fit come together, service by service."""
        services = [service(name, listen=("udp:0",)) for name in ("c", "a", "b", "d")]
        fault = Fault("a", "user", "cannot become uid 0")
        found = faults(
            services,
            {
                "a": fault,
                "b": Facts("b", "datagram", ()),
                "c": Facts("c", "stream", ()),
                "d": Facts("d", "stream", ()),
            },
        )
        assert [(one.service, one.key) for one in found] == [
            ("c", "handler"),
            ("a", "user"),
            ("d", "handler"),
        ]
        assert found[1] is fault
        assert "cannot serve datagrams" in found[0].message
