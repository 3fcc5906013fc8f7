"""``netd.execution.threads.epoll``: real epolls, waited in by a test."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from netd.execution.threads.epoll import END, Epoll
from tests.reactors import PATIENCE


class Queue:
    """A descriptor that reports as long as something is in it."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_SEMAPHORE | os.EFD_CLOEXEC)

    def put(self, count: int = 1) -> None:
        os.eventfd_write(self.descriptor, count)

    def take(self) -> None:
        os.eventfd_read(self.descriptor)

    def close(self) -> None:
        os.close(self.descriptor)


@pytest.fixture
def queue() -> Iterator[Queue]:
    made = Queue()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Queue]:
    made = Queue()
    yield made
    made.close()


@pytest.fixture(params=[True, False], ids=["shared", "alone"])
def shared(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def watch(*queues: Queue, always: tuple[Queue, ...] = (), shared: bool) -> Epoll:
    return Epoll(
        [each.descriptor for each in queues], [each.descriptor for each in always], shared=shared
    )


class TestWatching:
    """Sources report between ``start`` and ``stop``."""

    def test_before_it_starts(self, queue: Queue, shared: bool) -> None:
        """What is there waits."""
        watched = watch(queue, shared=shared)
        queue.put()
        assert watched.poll(0) is None
        watched.start()
        assert watched.poll(0) == queue.descriptor

    def test_nobody(self, queue: Queue, shared: bool) -> None:
        """A wait may bring nothing."""
        watched = watch(queue, shared=shared)
        watched.start()
        assert watched.poll(0) is None
        assert watched.poll(0.001) is None

    def test_stopped(self, queue: Queue, shared: bool) -> None:
        """Nothing is reported any more, and what came meanwhile is when it starts again."""
        watched = watch(queue, shared=shared)
        watched.start()
        watched.stop()
        queue.put()
        assert watched.poll(0) is None
        watched.start()
        assert watched.poll(0) == queue.descriptor

    def test_again_and_again(self, queue: Queue, shared: bool) -> None:
        """A start that follows a start changes nothing, nor does a second stop."""
        watched = watch(queue, shared=shared)
        watched.start()
        watched.start()
        queue.put()
        assert watched.poll(0) == queue.descriptor
        watched.stop()
        watched.stop()
        assert watched.poll(0) is None

    def test_stopped_while_a_thread_has_its_event(self, queue: Queue, shared: bool) -> None:
        """``again`` of a thread that was about to take does not bring the source back."""
        watched = watch(queue, shared=shared)
        queue.put(2)
        watched.start()
        assert watched.poll(0) == queue.descriptor
        watched.stop()
        watched.rearm(queue.descriptor)
        assert watched.poll(0) is None

    def test_always(self, queue: Queue, other: Queue, shared: bool) -> None:
        """What was taken before reports whether more is taken or not."""
        watched = watch(queue, always=(other,), shared=shared)
        queue.put()
        other.put()
        assert watched.poll(0) == other.descriptor
        other.take()
        watched.rearm(other.descriptor)
        assert watched.poll(0) is None

    def test_one_after_another(self, queue: Queue, other: Queue, shared: bool) -> None:
        """A source that is never empty does not keep the other one from being seen."""
        watched = watch(queue, other, shared=shared)
        queue.put(5)
        other.put(5)
        watched.start()
        seen = []
        for _ in range(4):
            descriptor = watched.poll(0)
            assert descriptor is not None
            seen.append(descriptor)
            watched.rearm(descriptor)
        assert sorted(seen[:2]) == sorted(seen[2:]) == sorted([queue.descriptor, other.descriptor])

    def test_a_source_that_somebody_has_closed(self, other: Queue, shared: bool) -> None:
        """A handler that closes what is not its own does not end the others."""
        queue = Queue()
        watched = watch(queue, other, shared=shared)
        watched.start()
        queue.close()
        watched.stop()
        other.put()
        watched.pause(queue.descriptor)
        assert watched.poll(0) is None


class TestShared:
    """Of several threads that wait, one gets an event."""

    def test_one_event(self, queue: Queue) -> None:
        """Until the source is watched again, however much is in it."""
        watched = watch(queue, shared=True)
        queue.put(2)
        watched.start()
        assert watched.poll(0) == queue.descriptor
        assert watched.poll(0) is None

    def test_again(self, queue: Queue) -> None:
        """What is in it by then is reported at once: nobody waits for the next one to come."""
        watched = watch(queue, shared=True)
        queue.put(2)
        watched.start()
        assert watched.poll(0) == queue.descriptor
        watched.rearm(queue.descriptor)
        assert watched.poll(0) == queue.descriptor

    def test_started_while_a_thread_has_its_event(self, queue: Queue) -> None:
        """A suspension that is over before the thread has taken strands nobody."""
        watched = watch(queue, shared=True)
        queue.put(2)
        watched.start()
        assert watched.poll(0) == queue.descriptor
        watched.stop()
        watched.start()
        assert watched.poll(0) == queue.descriptor

    def test_a_client_that_comes_while_another_thread_waits(self, queue: Queue) -> None:
        """It wakes one that waits already."""
        watched = watch(queue, shared=True)
        watched.start()
        seen: list[int | None] = []
        thread = threading.Thread(target=lambda: seen.append(watched.poll(PATIENCE)))
        thread.start()
        queue.put()
        thread.join(PATIENCE)
        assert seen == [queue.descriptor]


class TestAlone:
    """A thread that is alone in its process is told for as long as somebody is there."""

    def test_until_all_are_taken(self, queue: Queue) -> None:
        """Without a call between them."""
        watched = watch(queue, shared=False)
        queue.put(2)
        watched.start()
        for _ in range(2):
            assert watched.poll(0) == queue.descriptor
            queue.take()
        assert watched.poll(0) is None

    def test_processes_that_wait_for_the_same_listener(self) -> None:
        """One is woken, and the next one by the next client, while the first is busy."""
        with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
            watches = [Epoll([listener.fileno()], shared=False) for _ in range(2)]
            for each in watches:
                each.start()
            for _ in watches:
                stack.enter_context(socket.create_connection(listener.getsockname(), PATIENCE))
                woken = [each for each in watches if each.poll(PATIENCE) == listener.fileno()]
                assert woken
                listener.accept()[0].close()


class TestResting:
    """A source that cannot be taken from is left alone for a while."""

    def test_rests(self, queue: Queue, shared: bool) -> None:
        """It reports nothing, and everything when it is resumed."""
        watched = watch(queue, shared=shared)
        queue.put()
        watched.start()
        assert watched.poll(0) == queue.descriptor
        watched.pause(queue.descriptor)
        assert watched.poll(0) is None
        watched.resume(queue.descriptor)
        assert watched.poll(0) == queue.descriptor

    def test_that_others_may_take_from_meanwhile(self, queue: Queue, shared: bool) -> None:
        """A source that was watched again before it turned out to fail rests all the same."""
        watched = watch(queue, shared=shared)
        queue.put()
        watched.start()
        assert watched.poll(0) == queue.descriptor
        watched.rearm(queue.descriptor)
        watched.pause(queue.descriptor)
        assert watched.poll(0) is None
        watched.resume(queue.descriptor)
        assert watched.poll(0) == queue.descriptor

    def test_the_others_go_on(self, queue: Queue, other: Queue, shared: bool) -> None:
        """One that rests does not keep the others from being seen."""
        watched = watch(queue, other, shared=shared)
        queue.put()
        watched.start()
        assert watched.poll(0) == queue.descriptor
        watched.pause(queue.descriptor)
        other.put()
        assert watched.poll(0) == other.descriptor

    def test_stopped_while_it_rests(self, queue: Queue, shared: bool) -> None:
        """Its rest being over is no reason to take again."""
        watched = watch(queue, shared=shared)
        queue.put()
        watched.start()
        watched.pause(queue.descriptor)
        watched.stop()
        watched.resume(queue.descriptor)
        assert watched.poll(0) is None
        watched.start()
        assert watched.poll(0) == queue.descriptor

    def test_stopped_and_started_while_it_rests(self, queue: Queue, shared: bool) -> None:
        """It is watched from then on, and the end of its rest changes nothing."""
        watched = watch(queue, shared=shared)
        watched.start()
        watched.pause(queue.descriptor)
        watched.stop()
        watched.start()
        watched.resume(queue.descriptor)
        queue.put()
        assert watched.poll(0) == queue.descriptor

    def test_what_was_taken_before(self, queue: Queue, other: Queue, shared: bool) -> None:
        """It comes back after its rest although nothing more is taken: somebody waits for it."""
        watched = watch(queue, always=(other,), shared=shared)
        watched.start()
        other.put()
        assert watched.poll(0) == other.descriptor
        watched.pause(other.descriptor)
        watched.stop()
        assert watched.poll(0) is None
        watched.resume(other.descriptor)
        assert watched.poll(0) == other.descriptor


class TestEnd:
    """The end is seen by every thread, now and later."""

    def test_every_wait(self, queue: Queue, shared: bool) -> None:
        """As often as anybody asks."""
        watched = watch(queue, shared=shared)
        watched.start()
        watched.end()
        assert [watched.poll(0) for _ in range(3)] == [END] * 3
        assert watched.poll(-1) == END

    def test_threads_that_wait(self, queue: Queue) -> None:
        """All of them wake up, who would have waited for ever."""
        watched = watch(queue, shared=True)
        watched.start()
        seen: list[int | None] = []
        threads = [
            threading.Thread(target=lambda: seen.append(watched.poll(-1)), daemon=True)
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        watched.end()
        for thread in threads:
            thread.join(PATIENCE)
        assert seen == [END] * 5

    def test_what_was_taken_before(self, other: Queue, shared: bool) -> None:
        """It is still seen between the ends: it is served to the last."""
        watched = watch(always=(other,), shared=shared)
        other.put()
        watched.end()
        assert other.descriptor in [watched.poll(0), watched.poll(0)]
