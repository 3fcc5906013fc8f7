"""``netd.worker.descriptors``: descriptors of this process, moved to any numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from netd.worker.descriptors import put_in_place

FREE: Final = 700
"""Descriptors from this one on are free in a test's process."""

OURS: Final = "put in place "
"""Prefix of the names of this test's files; other tests leave files of their own."""

places = st.lists(st.integers(FREE, FREE + 12), min_size=6, max_size=6, unique=True)


class TestPutInPlace:
    @given(places, places, st.integers(1, 6))
    def test_any_places(self, sources: list[int], targets: list[int], count: int) -> None:
        """Each descriptor reaches its number, in whatever order the numbers block each other."""
        for number, source in enumerate(sources[:count]):
            file = os.memfd_create(f"{OURS}{number}")
            os.dup2(file, source)
            os.close(file)
        put_in_place(dict(zip(targets[:count], sources[:count], strict=True)))
        there = Path("/proc/self/fd")
        links = {
            int(name): os.readlink(there / name) for name in os.listdir(there) if is_mine(name)
        }
        inherited = [target for target in links if os.get_inheritable(target)]
        for target in links:
            os.close(target)
        assert links == {
            target: f"/memfd:{OURS}{number} (deleted)"
            for number, target in enumerate(targets[:count])
        }
        assert inherited == []


def is_mine(name: str) -> bool:
    """Whether *name* is the number of a descriptor that the test above has made."""
    link = f"/proc/self/fd/{name}"
    return os.path.lexists(link) and os.readlink(link).startswith(f"/memfd:{OURS}")
