"""docs/asynchronous.md, followed step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.integration.test_tutorial import BLOCK, Reader, reader

__all__ = ["reader"]

PAGE: Final = Path(__file__).parents[2] / "docs" / "asynchronous.md"


@pytest.mark.long
def test_whole_page(reader: Reader) -> None:
    """From its first block to its last, in an empty directory."""
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) > 10
    for block in blocks:
        reader.do(*block)
