"""``netd.handlers.reflection_guard``: claimed addresses, seen by every process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from netd.handlers.reflection_guard import ReflectionGuard
from tests.descriptors import count_descriptors
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
    """Two guards, which stand for two processes."""

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
def test_claim_is_seen_by_both(two: Two, address: int | str | bytes) -> None:
    assert not two.one.is_claimed(address)
    assert not two.other.is_claimed(address)
    two.one.claim(address)
    assert two.one.is_claimed(address)
    assert two.other.is_claimed(address)


def test_other_addresses_are_free(two: Two) -> None:
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
    """Once the first claim ends, the second guard gets it by calling again."""
    two.one.claim(10007)
    two.other.claim(10007)
    two.one.close()
    assert not two.other.is_claimed(10007)
    two.other.claim(10007)
    assert two.other.is_claimed(10007)


def test_claimed_twice(two: Two) -> None:
    before = count_descriptors()
    for _ in range(3):
        two.one.claim(10007)
        two.other.claim(10007)
    assert count_descriptors() == before + 1


CLAIM = f"""
import sys
from netd.handlers.reflection_guard import ReflectionGuard
guard = ReflectionGuard({AMONG!r})
guard.claim(10007)
print("claimed", flush=True)
sys.stdin.read()
"""


def test_ends_with_its_process(two: Two) -> None:
    """A claim ends with its process, even a killed one."""
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
    """A name whose holder cannot be connected to counts as claimed."""
    two.one.claim(10007)
    (held,) = two.one._held.values()
    name = held.getsockname()
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
