"""``netd.handlers.reflection_guard``: addresses that nobody answers, in whatever process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from netd.handlers.reflection_guard import ReflectionGuard
from tests.execution.reactor.hosts import PATIENCE

AMONG = f"tests {os.getpid()}"
"""Other tests may run on this machine at the same time."""

ADDRESSES: list[int | str | bytes] = [
    10007,
    "/run/netd/echo",
    b"\0abstract",
    "relative",
    "x" * 107,
    "\udcff",
]


class Two:
    """The claims of two processes, as it were."""

    def __init__(self) -> None:
        self.one = ReflectionGuard(AMONG)
        self.other = ReflectionGuard(AMONG)

    def close(self) -> None:
        self.one.close()
        self.other.close()


@pytest.fixture
def two() -> Iterator[Two]:
    with closing(Two()) as made:
        yield made


@pytest.mark.parametrize("address", ADDRESSES)
def test_seen_by_everybody(two: Two, address: int | str | bytes) -> None:
    assert not two.one.is_claimed(address)
    assert not two.other.is_claimed(address)
    two.one.claim(address)
    assert two.one.is_claimed(address)
    assert two.other.is_claimed(address)


def test_one_does_not_stand_for_another(two: Two) -> None:
    two.one.claim(10007)
    assert not two.other.is_claimed(10008)
    assert not two.other.is_claimed("10007")


def test_only_among_themselves(two: Two) -> None:
    others = ReflectionGuard(f"{AMONG} others")
    with closing(two), ExitStack() as stack:
        stack.callback(others.close)
        two.one.claim(10007)
        assert not others.is_claimed(10007)


def test_claimed_by_two(two: Two) -> None:
    """When the first one ends, the second one has only to call again."""
    two.one.claim(10007)
    two.other.claim(10007)
    two.one.close()
    assert not two.other.is_claimed(10007)
    two.other.claim(10007)
    assert two.other.is_claimed(10007)


def test_claimed_twice(two: Two) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        two.one.claim(10007)
        two.other.claim(10007)
    assert len(os.listdir("/proc/self/fd")) == before + 1


CLAIM = f"""
import sys
from netd.handlers.reflection_guard import ReflectionGuard
claims = ReflectionGuard({AMONG!r})
claims.claim(10007)
print("claimed", flush=True)
sys.stdin.read()
"""


def test_ends_with_its_process(two: Two) -> None:
    """However it ends."""
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        assert two.one.is_claimed(10007)
        process.kill()
        process.wait(PATIENCE)
        assert not two.one.is_claimed(10007)


def test_name_is_taken_by_a_stranger(two: Two) -> None:
    """Even one that cannot be asked counts."""
    two.one.claim(10007)
    (request,) = two.one._held.values()
    name = request.getsockname()
    two.one.close()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as friend,
    ):
        friend.bind("")
        stranger.bind(name)
        stranger.connect(friend.getsockname())
        two.other.claim(10007)
        assert two.other.is_claimed(10007)
    assert not two.other.is_claimed(10007)
