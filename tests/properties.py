"""How many examples property tests draw."""

from __future__ import annotations

from hypothesis import settings


def many(examples: int) -> int:
    """*examples* in a long run; a tenth of them in the default one, which draws the same always."""
    is_default = settings.default is not None and settings.default.derandomize
    return examples // 10 if is_default else examples
