"""``netd.execution.reactor.task``: a coroutine that runs by itself."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed

from netd.execution.reactor.task import Task


class Story:
    """A coroutine that awaits what it is given, one after the other, and notes what comes."""

    def __init__(self, *awaited: Deferred[Any]) -> None:
        self.heard: list[Any] = []
        self.task = Task(self._tell(awaited))

    async def _tell(self, awaited: tuple[Deferred[Any], ...]) -> None:
        for one in awaited:
            try:
                self.heard.append(await one)
            except (Exception, CancelledError) as error:
                self.heard.append(type(error))


class TestRunning:
    def test_at_once_to_its_end(self) -> None:
        """What does not wait is done when the task has been made."""
        story = Story(succeed(1), succeed(2))
        assert story.heard == [1, 2]
        assert story.task.ended

    def test_waits(self) -> None:
        """For one after the other; ``awaited`` says for what."""
        first: Deferred[str] = Deferred()
        second: Deferred[str] = Deferred()
        story = Story(first, second)
        assert story.task.awaited is first
        first.callback("one")
        assert story.task.awaited is second
        assert not story.task.ended
        second.callback("two")
        assert story.heard == ["one", "two"]
        assert story.task.awaited is None
        assert story.task.ended

    def test_failure_is_raised(self) -> None:
        """And is handled with that: nobody hears of it again."""
        failing: Deferred[None] = Deferred()
        story = Story(failing)
        failing.errback(KeyError("x"))
        assert story.heard == [KeyError]
        assert failing.result is None

    def test_other_coroutines(self) -> None:
        """What is awaited is the Deferred at the bottom, through however many coroutines."""
        bottom: Deferred[int] = Deferred()
        heard: list[int] = []

        async def deep(depth: int) -> int:
            return await deep(depth - 1) if depth else await bottom

        async def whole() -> None:
            heard.append(await deep(100))

        task = Task(whole())
        assert task.awaited is bottom
        bottom.callback(7)
        assert heard == [7]

    def test_chained_deferred(self) -> None:
        """One that waits for another one itself."""
        inner: Deferred[str] = Deferred()
        outer: Deferred[None] = succeed(None)
        outer.addCallback(lambda _: inner)
        story = Story(outer)
        assert not story.task.ended
        inner.callback("done")
        assert story.heard == ["done"]

    def test_a_great_many(self) -> None:
        """Awaiting what has happened already takes no stack."""
        story = Story(*(succeed(number) for number in range(10_000)))
        assert len(story.heard) == 10_000


def test_where() -> None:
    """A line for each coroutine, the innermost last; nothing once it has ended."""
    wait: Deferred[None] = Deferred()

    async def inner() -> None:
        await wait

    async def outer() -> None:
        await inner()

    task = Task(outer())
    lines = task.where().splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["outer", "inner"]
    assert all("test_task.py" in line for line in lines)
    wait.callback(None)
    assert task.where() == ""


class TestCancelling:
    def test_while_waiting(self) -> None:
        """What it waits for is cancelled, and it goes on with that."""
        waiting: Deferred[None] = Deferred()
        next_: Deferred[str] = Deferred()
        story = Story(waiting, next_)
        story.task.cancel()
        assert story.heard == [CancelledError]
        assert story.task.awaited is next_
        next_.callback("goes on")
        assert story.task.ended

    @pytest.mark.parametrize("rest", [(), (succeed(1),)])
    def test_from_within(self, rest: tuple[Deferred[int], ...]) -> None:
        """While it runs, what it waits for next; what is there already is no wait."""
        tasks: list[Task] = []
        start: Deferred[None] = Deferred()
        heard: list[Any] = []

        async def tell() -> None:
            await start
            tasks[0].cancel()
            for one in rest:
                heard.append(await one)
            try:
                await Deferred()
            except CancelledError:
                heard.append("cancelled")
            await next_

        next_: Deferred[None] = Deferred()
        tasks.append(Task(tell()))
        start.callback(None)
        assert heard == [1] * len(rest) + ["cancelled"]
        assert tasks[0].awaited is next_

    def test_after_its_end(self) -> None:
        story = Story()
        story.task.cancel()
        assert story.task.ended


class Foreign:
    """What an event loop of another kind would have awaited."""

    def __await__(self) -> Generator[object, None, None]:
        yield self


class TestWhatCannotBeAwaited:
    def test_says_so(self) -> None:
        """In the coroutine, which may go on."""
        told: list[str] = []

        async def tell() -> None:
            for _ in range(2):
                try:
                    await Foreign()
                except TypeError as error:
                    told.append(str(error))

        assert Task(tell()).ended
        assert len(told) == 2
        assert "Foreign object" in told[0]
        assert "cannot be awaited here" in told[0]


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


def test_each_has_its_own_context() -> None:
    """What one sets, no other one sees, nor does whoever wakes them."""
    seen: list[str] = []

    def tells(name: str, wait: Deferred[None]) -> Callable[[], Coroutine[Any, Any, None]]:
        async def tell() -> None:
            seen.append(VARIABLE.get())
            VARIABLE.set(name)
            await wait
            seen.append(VARIABLE.get())

        return tell

    waits: list[Deferred[None]] = [Deferred(), Deferred()]
    for name, wait in zip("ab", waits, strict=True):
        Task(tells(name, wait)())
    for wait in waits:
        wait.callback(None)
    assert seen == ["unset", "unset", "a", "b"]
    assert VARIABLE.get() == "unset"
