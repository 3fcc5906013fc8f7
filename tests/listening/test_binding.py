"""``netd.listening.binding``: real sockets, all or none."""

from __future__ import annotations

import array
import errno
import os
import pickle
import socket
import stat
import struct
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from netd.listening.binding import bind_all
from netd.listening.description import parse
from netd.listening.listener import CannotBind, Listeners
from netd.model.address import Address, InetAddress, Transport, UnixAddress
from netd.model.service import Program, Reference, Runs, Service
from tests.descriptors import none_left_open

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a socket away")
AS_USER = pytest.mark.skipif(os.geteuid() == 0, reason="root is denied nothing")


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as sock:
        return sock.connect_ex(("::1", 1)) == errno.ECONNREFUSED


WITH_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback")


def service(*listen: Address | str, name: str = "time", backlog: int = 16) -> Service:
    addresses = tuple(parse(each) if isinstance(each, str) else each for each in listen)
    runs = Runs("handler", Reference("timeserver", "TimeServer"))
    return Service(name, addresses, runs, name, backlog=backlog)


@contextmanager
def bound(*listen: Address | str) -> Iterator[Listeners]:
    with closing(bind_all([service(*listen)])) as listeners:
        yield listeners


def refusal(*listen: Address | str) -> str:
    with pytest.raises(CannotBind) as caught:
        bind_all([service(*listen)])
    return caught.value.reason


def port_of(listeners: Listeners, index: int = 0) -> int:
    port = list(listeners)[index].socket.getsockname()[1]
    assert isinstance(port, int)
    return port


@contextmanager
def foreign(path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    """A socket of somebody else's, bound to *path*, which stays behind when it is closed."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))
        yield sock


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def before_each_call_of(
    function: Callable[..., object], look: Callable[[], None]
) -> Iterator[None]:
    """Call *look* whenever the built-in *function* is about to be called."""

    def profile(_frame: object, event: str, called: object) -> None:
        if event == "c_call" and called is function:
            look()

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


IN_USE = "Address already in use: something is listening there"


class TestInet:
    @pytest.mark.parametrize("transport", ["tcp", "udp"])
    def test_a_port_that_is_shared(self, transport: str) -> None:
        """With ``allow_reuse_port`` of a server class others may have the port, too."""
        first = service(f"{transport}:0:interface=127.0.0.1")
        with closing(bind_all([replace(first, reuse_port=True)])) as listeners:
            port = port_of(listeners)
            address = f"{transport}:{port}:interface=127.0.0.1"
            with closing(bind_all([replace(service(address), reuse_port=True)])) as others:
                assert port_of(others) == port
            assert refusal(address) == "Address already in use"

    def test_a_path_is_not_shared(self, tmp_path: Path) -> None:
        """There is nothing of that kind for Unix sockets, and no problem either."""
        shared = replace(service(f"unix:{tmp_path}/s", "unixgram:@netd/s"), reuse_port=True)
        with closing(bind_all([shared])) as listeners:
            for listener in listeners:
                assert not listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)

    def test_a_stream_listens_and_never_blocks(self) -> None:
        """A stream socket takes clients, restarts at once and accepts without waiting."""
        with bound("tcp:0:interface=127.0.0.1") as listeners:
            (listener,) = listeners
            assert listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
            assert listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
            assert not os.get_blocking(listener.socket.fileno())
            assert not listener.socket.get_inheritable()
            with socket.create_connection(("127.0.0.1", port_of(listeners))):
                pass

    def test_a_datagram_socket_blocks_and_shares_nothing(self) -> None:
        """O_NONBLOCK is every process's; and with SO_REUSEADDR another could take the packets."""
        with bound("udp:0:interface=127.0.0.1") as listeners:
            (listener,) = listeners
            assert os.get_blocking(listener.socket.fileno())
            assert listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
            assert not listener.socket.get_inheritable()

    @pytest.mark.parametrize("transport", ["tcp", "udp"])
    def test_port_0_shows_the_port_it_got(self, transport: str) -> None:
        """The address for people names the port that clients need, not the wish for one."""
        with bound(f"{transport}:0:interface=127.0.0.1") as listeners:
            (listener,) = listeners
            assert listener.bound == f"{transport} 127.0.0.1:{port_of(listeners)}"
            assert port_of(listeners) != 0
            assert str(listener.address) == f"{transport}:0:interface=127.0.0.1"

    def test_without_an_interface_all_addresses_are_bound(self) -> None:
        """Twisted and nginx mean all addresses, so does netd."""
        with bound("tcp:0") as listeners:
            (listener,) = listeners
            assert listener.bound == f"tcp 0.0.0.0:{port_of(listeners)}"

    @WITH_IPV6
    def test_ipv6_is_shown_in_brackets(self) -> None:
        """The port of an IPv6 address can be told from the address."""
        with bound("tcp6:0:interface=[::1]") as listeners:
            (listener,) = listeners
            assert listener.bound == f"tcp6 [::1]:{port_of(listeners)}"

    @WITH_IPV6
    @pytest.mark.parametrize("transport", ["tcp", "udp"])
    def test_both_families_share_a_port(self, transport: str) -> None:
        """IPv6 sockets are for IPv6 alone, so a service names both families on one port."""
        with bound(f"{transport}6:0") as first:
            port = port_of(first)
            with bound(f"{transport}:{port}") as second:
                assert port_of(second) == port

    @WITH_IPV6
    def test_a_scope_by_name_reaches_the_kernel(self) -> None:
        """The link of an address is looked up, and one that is not there is said so."""
        with bound("tcp6:0:interface=[::1%lo]") as listeners:
            assert len(listeners) == 1
        assert refusal("tcp6:0:interface=[fe80::1%nosuch0]") == "No such device"

    @pytest.mark.parametrize("transport", ["tcp", "udp"])
    def test_a_port_that_is_taken_is_refused(self, transport: str) -> None:
        """The reason is the system's, in its words."""
        with bound(f"{transport}:0:interface=127.0.0.1") as listeners:
            text = f"{transport}:{port_of(listeners)}:interface=127.0.0.1"
            assert refusal(text) == os.strerror(errno.EADDRINUSE)

    def test_what_cannot_be_bound_is_named(self) -> None:
        """The one line that an operator reads has the service, the address and the reason."""
        with pytest.raises(CannotBind) as caught:
            bind_all([service("tcp:80:interface=192.0.2.1")])
        assert str(caught.value) == (
            "services.time: cannot listen on tcp:80:interface=192.0.2.1: "
            "Cannot assign requested address"
        )
        assert caught.value.service == "time"
        assert caught.value.address == InetAddress(Transport.TCP, 80, "192.0.2.1")
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    def test_a_reserved_port_is_refused_without_privilege(self) -> None:
        """The commonest failure of all keeps the plain words."""
        first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        if os.geteuid() == 0 or first < 2:
            pytest.skip("every port is free to this user")
        assert refusal("tcp:1:interface=127.0.0.1") == "Permission denied"


class TestUnix:
    def test_a_stream_takes_clients(self, tmp_path: Path) -> None:
        """A Unix stream socket listens, and accepts without waiting."""
        path = tmp_path / "time"
        with bound(f"unix:{path}") as listeners:
            (listener,) = listeners
            assert listener.bound == f"unix {path}"
            assert not os.get_blocking(listener.socket.fileno())
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))

    def test_a_datagram_brings_its_sender_s_credentials(self, tmp_path: Path) -> None:
        """Admission by uid needs to know who sent a datagram, from the first one on."""
        path = tmp_path / "time"
        with bound(f"unixgram:{path}") as listeners:
            (listener,) = listeners
            assert os.get_blocking(listener.socket.fileno())
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
                client.sendto(b"now", str(path))
            data, ancillary, _, _ = listener.socket.recvmsg(16, 64, socket.MSG_DONTWAIT)
            ((_, kind, credentials),) = ancillary
            assert (data, kind) == (b"now", socket.SCM_CREDENTIALS)
            assert struct.unpack("3i", credentials) == (os.getpid(), os.getuid(), os.getgid())

    @pytest.mark.parametrize("transport", ["unix", "unixgram"])
    def test_an_abstract_name_leaves_no_trace(self, transport: str) -> None:
        """An abstract name is bound, shown with its at sign, and free again after closing."""
        name = f"@netd-{uuid.uuid4()}"
        for _ in range(2):
            with bound(f"{transport}:{name}") as listeners:
                (listener,) = listeners
                assert listener.bound == f"{transport} {name}"
                assert refusal(f"{transport}:{name}") == os.strerror(errno.EADDRINUSE)

    def test_missing_parents_are_made(self, tmp_path: Path) -> None:
        """/run is empty after every boot; directories have mode 755, whatever the umask."""
        path = tmp_path / "run" / "netd" / "time"
        with umask(0o077), bound(f"unix:{path}"):
            assert [mode_of(tmp_path / "run"), mode_of(path.parent)] == [0o755, 0o755]
        assert path.parent.is_dir()
        assert not path.exists()

    def test_a_parent_s_mode_is_not_touched(self, tmp_path: Path) -> None:
        """A directory that is there belongs to whoever made it."""
        tmp_path.chmod(0o700)
        with bound(f"unix:{tmp_path}/time"):
            assert mode_of(tmp_path) == 0o700

    def test_a_parent_that_is_a_file_is_refused(self, tmp_path: Path) -> None:
        """Nothing is removed to make room for a directory."""
        (tmp_path / "run").write_text("kept")
        assert refusal(f"unix:{tmp_path}/run/time") == os.strerror(errno.ENOTDIR)
        assert refusal(f"unix:{tmp_path}/run/netd/time") == os.strerror(errno.ENOTDIR)
        assert (tmp_path / "run").read_text() == "kept"

    def test_a_path_too_long_for_the_kernel_is_refused(self, tmp_path: Path) -> None:
        """Who comes past ``resolved`` is told, too, and by no traceback."""
        assert "too long" in refusal(UnixAddress(Transport.UNIX, f"{tmp_path}/{'n' * 108}"))

    @AS_USER
    def test_a_directory_out_of_reach_is_refused(self, tmp_path: Path) -> None:
        """A directory that may not be written says so in the system's words."""
        tmp_path.chmod(0o500)
        assert refusal(f"unix:{tmp_path}/time") == "Permission denied"


class TestModeAndOwner:
    @pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
    @pytest.mark.parametrize("mode", ["000", "600", "660", "666", "777"])
    def test_the_mode_is_exact(self, tmp_path: Path, mode: str, mask: int) -> None:
        """The mode is the configured one, neither narrowed nor widened by the umask."""
        path = tmp_path / "time"
        with umask(mask), bound(f"unix:{path}:mode={mode}"):
            assert mode_of(path) == int(mode, 8)

    @pytest.mark.parametrize(("mode", "first"), [("660", 0o600), ("060", 0), ("400", 0o400)])
    def test_the_mode_is_never_wider(self, tmp_path: Path, mode: str, first: int) -> None:
        """With umask 0 the socket is still the owner's alone until owner and group are set."""
        path, seen = tmp_path / "time", list[int]()
        watched = before_each_call_of(os.chmod, lambda: seen.append(mode_of(path)))
        with umask(0), watched, bound(f"unix:{path}:mode={mode}"):
            assert seen == [first]

    @AS_ROOT
    def test_owner_and_group_are_as_configured(self, tmp_path: Path) -> None:
        """A socket can belong to the account that uses it, with the mode it should have."""
        path = tmp_path / "time"
        with bound(f"unix:{path}:mode=640:user=4242:group=4343"):
            assert (path.stat().st_uid, path.stat().st_gid) == (4242, 4343)
            assert mode_of(path) == 0o640

    @AS_ROOT
    def test_owner_and_group_are_set_before_the_mode(self, tmp_path: Path) -> None:
        """Root's group must not get in for a moment that was meant for another."""
        path, seen = tmp_path / "time", list[tuple[int, int]]()
        watched = before_each_call_of(
            os.chmod, lambda: seen.append((path.stat().st_uid, path.stat().st_gid))
        )
        with watched, bound(f"unix:{path}:group=4343"):
            assert seen == [(0, 4343)]

    @AS_USER
    def test_an_owner_that_may_not_be_set_leaves_nothing(self, tmp_path: Path) -> None:
        """A socket that cannot get its owner is not left to the wrong one."""
        path = tmp_path / "time"
        assert refusal(f"unix:{path}:user=0") == os.strerror(errno.EPERM)
        assert not path.exists()

    def test_a_socket_swapped_for_a_link_does_no_harm(self, tmp_path: Path) -> None:
        """Who may write in the directory cannot turn our chmod on a file of ours."""
        path, victim = tmp_path / "time", tmp_path / "victim"
        victim.write_text("kept")
        victim.chmod(0o600)

        def swap() -> None:
            if path.is_socket():
                path.unlink()
                path.symlink_to(victim)

        with before_each_call_of(os.open, swap):
            reason = refusal(f"unix:{path}:mode=666")
        assert reason == "another process replaced the socket while it was being bound"
        assert mode_of(victim) == 0o600
        assert path.is_symlink()


class TestPathsThatAreTaken:
    @pytest.mark.parametrize("transport", ["unix", "unixgram"])
    @pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
    def test_a_stale_socket_is_replaced(
        self, tmp_path: Path, transport: str, kind: socket.SocketKind
    ) -> None:
        """What a killed process left behind does not keep the next one from starting."""
        path = tmp_path / "time"
        with foreign(path, kind):
            pass
        path.chmod(0o640)
        with bound(f"{transport}:{path}"):
            assert mode_of(path) == 0o660
        assert not path.exists()

    @pytest.mark.parametrize("transport", ["unix", "unixgram"])
    @pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
    def test_a_live_socket_is_refused(
        self, tmp_path: Path, transport: str, kind: socket.SocketKind
    ) -> None:
        """Another daemon's socket stays its own, of whatever type it is."""
        path = tmp_path / "time"
        with foreign(path, kind) as other:
            if kind != socket.SOCK_DGRAM:
                other.listen()
            before = path.stat()
            assert refusal(f"{transport}:{path}") == IN_USE
            assert path.stat() == before

    def test_a_live_socket_does_not_notice(self, tmp_path: Path) -> None:
        """Asking whether somebody is there is no connection that a server would log."""
        path = tmp_path / "time"
        with foreign(path) as other:
            other.listen()
            other.setblocking(False)
            assert refusal(f"unix:{path}") == IN_USE
            with pytest.raises(BlockingIOError):
                other.accept()

    def test_a_full_backlog_is_life(self, tmp_path: Path) -> None:
        """A busy server is not taken for a dead one, and nothing waits for it."""
        path = tmp_path / "time"
        with foreign(path) as other, socket.socket(socket.AF_UNIX) as first:
            other.listen(0)
            first.connect(str(path))
            assert refusal(f"unix:{path}") == IN_USE

    def test_a_socket_between_bind_and_listen_is_alive(self, tmp_path: Path) -> None:
        """Two daemons that start at once do not take the path from one another."""
        path = tmp_path / "time"
        with foreign(path):
            assert refusal(f"unix:{path}") == IN_USE

    def test_a_connected_datagram_socket_is_alive(self, tmp_path: Path) -> None:
        """A datagram socket that talks to one peer refuses all others, but it is there."""
        path, peer = tmp_path / "time", tmp_path / "peer"
        with foreign(path, socket.SOCK_DGRAM) as other, foreign(peer, socket.SOCK_DGRAM):
            other.connect(str(peer))
            assert refusal(f"unixgram:{path}") == IN_USE

    def test_a_regular_file_is_kept(self, tmp_path: Path) -> None:
        """A slip in a path does not cost a file."""
        path = tmp_path / "notes"
        path.write_text("kept")
        assert refusal(f"unix:{path}") == "File exists: what is there is not a socket"
        assert path.read_text() == "kept"

    def test_a_link_is_kept_with_what_it_leads_to(self, tmp_path: Path) -> None:
        """A link is not a socket, even if it leads to a stale one."""
        path, target = tmp_path / "time", tmp_path / "target"
        with foreign(target):
            pass
        path.symlink_to(target)
        assert refusal(f"unix:{path}") == "File exists: what is there is not a socket"
        assert path.is_symlink()
        assert target.is_socket()

    @AS_USER
    def test_a_socket_that_may_not_be_asked_is_kept(self, tmp_path: Path) -> None:
        """Where the answer is denied, a socket counts as alive."""
        path = tmp_path / "time"
        with foreign(path):
            path.chmod(0)
        assert refusal(f"unix:{path}") == "Permission denied"
        assert path.is_socket()

    @pytest.mark.parametrize("transport", ["unix", "unixgram"])
    def test_a_path_that_stands_twice_is_refused(self, tmp_path: Path, transport: str) -> None:
        """Two listeners of one configuration do not take a path from one another."""
        text = f"{transport}:{tmp_path}/time"
        assert refusal(text, text) == IN_USE
        assert not (tmp_path / "time").exists()


class TestListeners:
    def test_each_knows_its_service_and_place(self, tmp_path: Path) -> None:
        """A worker is given the listeners of its service, in the order of the file."""
        time = service(f"unix:{tmp_path}/time", "udp:0:interface=127.0.0.1")
        echo = service(f"unixgram:{tmp_path}/echo", name="echo")
        with closing(bind_all([time, echo])) as listeners:
            places = [(each.service, each.index, each.address) for each in listeners]
            assert places == [
                ("time", 0, time.listen[0]),
                ("time", 1, time.listen[1]),
                ("echo", 0, echo.listen[0]),
            ]
            assert len(listeners) == 3
            assert listeners.of("time") == tuple(listeners)[:2]
            assert listeners.of("nobody") == ()

    def test_the_backlog_is_the_service_s(self) -> None:
        """The queue is as long as configured, not as long as somebody's default."""
        with closing(bind_all([service("tcp:0:interface=127.0.0.1", backlog=7)])) as listeners:
            (listener,) = listeners
            information = listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            # Of a listener, tcpi_sacked is the length of its queue: struct tcp_info, tcp(7).
            assert array.array("I", information[8:])[5] == 7

    def test_nothing_is_a_set_of_none(self) -> None:
        """A configuration without services binds nothing and closes cleanly."""
        listeners = bind_all([])
        assert list(listeners) == []
        listeners.close()

    def test_closing_unlinks_what_was_made(self, tmp_path: Path) -> None:
        """After a stop no stale path is left, and closing again does no harm."""
        listeners = bind_all([service(f"unix:{tmp_path}/a", f"unixgram:{tmp_path}/b")])
        listeners.close()
        assert list(tmp_path.iterdir()) == []
        assert [each.socket.fileno() for each in listeners] == [-1, -1]
        (tmp_path / "a").write_text("somebody else's by now")
        listeners.close()
        assert (tmp_path / "a").exists()

    def test_closing_leaves_a_path_that_was_replaced(self, tmp_path: Path) -> None:
        """The socket of the next daemon is not unlinked by the last one's stop."""
        path = tmp_path / "time"
        listeners = bind_all([service(f"unix:{path}")])
        path.unlink()
        with foreign(path) as other:
            listeners.close()
            assert path.is_socket()
            other.listen()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))

    def test_closing_bears_a_path_that_has_gone(self, tmp_path: Path) -> None:
        """Somebody who tidied up does not keep the rest from being closed."""
        listeners = bind_all([service(f"unix:{tmp_path}/a", f"unix:{tmp_path}/b")])
        (tmp_path / "b").unlink()
        listeners.close()
        assert list(tmp_path.iterdir()) == []
        assert [each.socket.fileno() for each in listeners] == [-1, -1]


class TestAllOrNone:
    def test_a_failure_undoes_what_came_before(self, tmp_path: Path) -> None:
        """When the third cannot be bound, the first two are closed and their paths gone."""
        with bound("tcp:0:interface=127.0.0.1") as free:
            port = port_of(free)
        (tmp_path / "c").write_text("in the way")
        time = service(f"unix:{tmp_path}/a", f"tcp:{port}:interface=127.0.0.1")
        echo = service(f"unix:{tmp_path}/c", f"unix:{tmp_path}/d", name="echo")
        with (
            none_left_open(),
            pytest.raises(CannotBind, match=f"services.echo: cannot listen on unix:{tmp_path}/c"),
        ):
            bind_all([time, echo])
        assert [path.name for path in tmp_path.iterdir()] == ["c"]
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED

    def test_a_failure_that_is_not_the_system_s_undoes_as_well(self, tmp_path: Path) -> None:
        """A defect shows as what it is, and still leaves no socket behind."""
        with none_left_open(), pytest.raises(OverflowError):
            bind_all([service(f"unix:{tmp_path}/a", InetAddress(Transport.TCP, 65536))])
        assert list(tmp_path.iterdir()) == []


def backlog_of(listener: socket.socket) -> int:
    """The longest that the queue of a TCP listener may be (tcpi_sacked, for a listener)."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    (longest,) = struct.unpack_from("I", info, 28)
    assert isinstance(longest, int)
    return longest


class TestHeld:
    """Listeners that are there already, and are taken over."""

    def test_the_same_kernel_socket(self, tmp_path: Path) -> None:
        """Of every kind; and what is not among them is bound."""
        listen = ["tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1"]
        listen += [f"unix:{tmp_path}/s", f"unixgram:{tmp_path}/d", f"unix:@{uuid.uuid4()}"]
        with bound(*listen) as held:
            again = bind_all([service(*listen, f"unix:{tmp_path}/new")], held)
            assert [one.socket for one in again][:5] == [one.socket for one in held]
            fresh = again.without(held)
            assert [one.bound for one in fresh] == [f"unix {tmp_path}/new"]
            fresh.close()

    def test_moved_to_another_service(self) -> None:
        """Its name and its place are the new ones."""
        with bound("tcp:0:interface=127.0.0.1") as first:
            fixed = f"tcp:{port_of(first)}:interface=127.0.0.1"
            first.close()
            with bound(fixed) as held:
                (moved,) = bind_all([service(fixed, name="other")], held)
                assert (moved.service, moved.socket) == ("other", next(iter(held)).socket)

    def test_free_ports_are_a_service_s_own(self) -> None:
        """Its first stays its first; another service gets others."""
        free = "tcp:0:interface=127.0.0.1"
        with bound(free, free) as held:
            first, second = (one.socket for one in held)
            both = bind_all([service(free), service(free, name="other")], held)
            mine, other = both
            assert mine.socket is first
            assert other.socket not in (first, second)
            assert list(held.without(both)) == [list(held)[1]]
            both.without(held).close()

    def test_another_backlog(self) -> None:
        """Is the new one, until it is given back."""
        free = "tcp:0:interface=127.0.0.1"
        with bound(free) as held:
            sock = next(iter(held)).socket
            assert backlog_of(sock) == 16
            again = bind_all([service(free, backlog=7)], held)
            assert backlog_of(sock) == 7
            again.give_back(held)
            assert backlog_of(sock) == 16
            assert sock.fileno() >= 0

    def test_another_mode(self, tmp_path: Path) -> None:
        """On the same inode; and given back."""
        path = tmp_path / "s"
        with bound(f"unix:{path}:mode=660") as held:
            inode = path.stat().st_ino
            again = bind_all([service(f"unix:{path}:mode=600")], held)
            assert (mode_of(path), path.stat().st_ino) == (0o600, inode)
            again.give_back(held)
            assert (mode_of(path), path.stat().st_ino) == (0o660, inode)

    @AS_ROOT
    def test_another_owner(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with bound(f"unix:{path}") as held:
            again = bind_all([service(UnixAddress(Transport.UNIX, str(path), 0o660, 1, 2))], held)
            assert (path.stat().st_uid, path.stat().st_gid) == (1, 2)
            again.give_back(held)
            assert (path.stat().st_uid, path.stat().st_gid) == (0, 0)

    def test_a_path_that_somebody_has_replaced(self, tmp_path: Path) -> None:
        """Is not ours to give another mode."""
        path = tmp_path / "s"
        with bound(f"unix:{path}:mode=660") as held:
            path.unlink()
            with foreign(path):
                before = mode_of(path)
                with pytest.raises(CannotBind, match="another process has replaced the socket"):
                    bind_all([service(f"unix:{path}:mode=600")], held)
                assert mode_of(path) == before
                path.unlink()

    def test_what_fails_leaves_all_as_it_was(self, tmp_path: Path) -> None:
        """Those that are held are open, with the queue and mode that they had."""
        path = tmp_path / "s"
        free = "tcp:0:interface=127.0.0.1"
        with bound(free, f"unix:{path}:mode=660") as held, bound(free) as request:
            wanted = [
                service(free, f"unix:{path}:mode=600", backlog=7),
                service(f"unix:{tmp_path}/new", name="new"),
                service(f"tcp:{port_of(request)}:interface=127.0.0.1", name="too late"),
            ]
            with pytest.raises(CannotBind, match=r"services\.too late"):
                bind_all(wanted, held)
            assert backlog_of(next(iter(held)).socket) == 16
            assert mode_of(path) == 0o660
            assert not (tmp_path / "new").exists()

    def test_a_program_that_takes_for_itself_waits_in_accept(self) -> None:
        """Which is a property of the socket that all share, so it changes and is given back."""
        free = "tcp:0:interface=127.0.0.1"
        waiting = replace(service(free), runs=Program("/bin/x", ("x",), wait=True))
        with bound(free) as held:
            sock = next(iter(held)).socket
            assert not sock.getblocking()
            again = bind_all([waiting], held)
            assert os.get_blocking(sock.fileno())
            again.give_back(held)
            assert not os.get_blocking(sock.fileno())


class TestHide:
    def test_nobody_finds_it_and_who_is_there_is_served(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with bound(f"unix:{path}") as listeners, closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(path))
            listeners.hide()
            assert not path.exists()
            next(iter(listeners)).socket.accept()[0].close()

    def test_somebody_else_s_path_stays(self, tmp_path: Path) -> None:
        """Whoever has taken the place, before or after."""
        path = tmp_path / "s"
        with bound(f"unix:{path}") as listeners:
            path.unlink()
            with foreign(path):
                listeners.hide()
                assert path.exists()
                listeners.close()
                assert path.exists()
