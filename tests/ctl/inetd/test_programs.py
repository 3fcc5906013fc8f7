"""``netd.ctl.inetd.programs``: a program gets the name and the arguments that it had."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netd.ctl.inetd.programs import command
from tests.properties import many

WORDS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)


class TestCommand:
    @pytest.mark.parametrize("name", ["in.fingerd", "/usr/sbin/in.fingerd"])
    def test_a_program_with_its_own_name_is_started_as_it_is(self, name: str) -> None:
        """Whether inetd's line has the path for it, or the last part of that."""
        found = command("/usr/sbin/in.fingerd", [name, "-w"])
        assert found == (["/usr/sbin/in.fingerd", "-w"], False)

    @pytest.mark.skipif(not Path("/bin/bash").exists(), reason="there is no /bin/bash")
    @settings(max_examples=many(25), deadline=None)
    @given(WORDS, st.lists(WORDS, max_size=3))
    def test_another_name_and_every_argument_arrive(
        self, tmp_path_factory: pytest.TempPathFactory, name: str, arguments: list[str]
    ) -> None:
        """Quotes, blanks and dollars included, for there is no shell that reads them."""
        program = tmp_path_factory.getbasetemp() / "says-its-name"
        if not program.exists():
            shutil.copy("/bin/cat", program)
        found, is_renamed = command(str(program), [name, "--", "/proc/self/cmdline", *arguments])
        assert is_renamed
        done = subprocess.run(found, capture_output=True, cwd=Path("/proc/self"), timeout=60)
        words = [name, "--", "/proc/self/cmdline", *arguments]
        assert done.stdout.startswith(b"\0".join(word.encode() for word in words))
