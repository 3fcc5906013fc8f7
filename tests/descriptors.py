"""Whether a process keeps descriptors that it should have closed."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def count_descriptors() -> int:
    """Count the descriptors of this process that are not garbage.

    Without that, the collector might close what an earlier test has left between two counts.
    """
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def open_descriptors() -> set[tuple[int, str]]:
    """The descriptors of this process, each with what it leads to.

    A number by itself does not tell: it is given out again as soon as it is free.
    """
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the directory's own
            found.add((int(number), os.readlink(f"/proc/self/fd/{number}")))
    return found


@contextmanager
def none_left_open() -> Iterator[None]:
    """Assert that nothing is opened in this context and left open.

    What other tests have left may be closed meanwhile, by the collector or by threads of theirs.
    """
    gc.collect()
    before = open_descriptors()
    yield
    gc.collect()
    assert open_descriptors() - before == set()
