"""Moving inherited descriptors to the numbers that a new process expects them at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

_STANDARD: Final = range(3)
"""Standard input, output and error: the only descriptors that programs inherit."""


def put_in_place(descriptors: Mapping[int, int]) -> None:
    """Move each descriptor, a value of *descriptors*, to the number that is its key.

    None of them stays open under another number. Raises OSError.
    """
    now_at = dict(descriptors)
    target_of = {descriptor: target for target, descriptor in now_at.items()}
    for target in descriptors:
        descriptor = now_at[target]
        if descriptor != target:
            if target in target_of:
                # The number is taken by a descriptor that has still to be moved. dup2 would close
                # that one, so move it out of the way first.
                moved = os.dup(target)
                now_at[target_of[target]] = moved
                target_of[moved] = target_of.pop(target)
            os.dup2(descriptor, target, inheritable=False)
            os.close(descriptor)
        del target_of[descriptor]
        os.set_inheritable(target, target in _STANDARD)
