"""``docs/tls.md``: what it shows is a configuration."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from netd.config.reference.json_schema import json_schema
from netd.config.schema import TlsTable

PAGE = (Path(__file__).parents[2] / "docs" / "tls.md").read_text()

BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_block(block: str) -> None:
    """Every key is known, and has a value that it can have."""
    jsonschema.validate(tomllib.loads(block), json_schema())


def test_every_key_is_there() -> None:
    """Nothing that can be said of TLS is left out."""
    assert not [key for key in TlsTable.model_fields if key not in PAGE]
