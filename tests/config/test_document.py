"""``netd.config.document``: one file, what it says, and what is said about one that is no TOML."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from netd.config.document import DEEPEST, Document, dotted, read
from netd.model.problem import ConfigurationError, Problem


def document(directory: Path, text: str | bytes) -> Document:
    file = directory / "netd.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read(str(file))


def problem(directory: Path, text: str | bytes) -> Problem:
    """The one problem that a file is refused with."""
    with pytest.raises(ConfigurationError) as caught:
        document(directory, text)
    (found,) = caught.value.problems
    assert found.file == str(directory / "netd.toml")
    return found


def place_and_message(directory: Path, text: str | bytes) -> tuple[int, str]:
    found = problem(directory, text)
    assert found.key == ""
    return found.line, found.message


class TestRead:
    def test_keeps_values_and_lines(self, tmp_path: Path) -> None:
        """Each value is found again by its path, and so is its line."""
        found = document(tmp_path, "a = 1\n\n[b]\nc = [\n  2,\n  3,\n]\n")
        assert found.values == {"a": 1, "b": {"c": [2, 3]}}
        assert [found.line(path) for path in [("a",), ("b",), ("b", "c"), ("b", "c", 1)]] == [
            1, 3, 4, 6,
        ]  # fmt: skip

    def test_of_a_key_that_is_not_there_says_the_table(self, tmp_path: Path) -> None:
        """What is missing is missing from its table, and what has no table from the file."""
        found = document(tmp_path, "a = 1\n[b]\nc = 2\n")
        assert found.line(("b", "x")) == 2
        assert found.line(("x", "y")) == 1
        assert found.location(("b", "x")) == (found.file, 2)

    def test_keeps_the_name_that_it_was_given(self, tmp_path: Path) -> None:
        """Messages name a file as its user does; paths in it start from where it really is."""
        (tmp_path / "netd.toml").write_text("")
        relative = os.path.relpath(tmp_path / "netd.toml")
        assert read(relative).file == relative
        assert read(relative).directory == str(tmp_path)

    def test_of_an_empty_file(self, tmp_path: Path) -> None:
        """An empty file is TOML."""
        assert document(tmp_path, "").values == {}

    def test_takes_windows_line_ends(self, tmp_path: Path) -> None:
        """A file from another system has the same lines."""
        assert document(tmp_path, "a = 1\r\n\r\nb = 2\r\n").line(("b",)) == 3

    def test_is_a_value(self, tmp_path: Path) -> None:
        """A document cannot be given another file's values."""
        with pytest.raises(dataclasses.FrozenInstanceError):
            document(tmp_path, "").values = {}  # type: ignore[misc]


class TestCannotRead:
    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        """The system's own words, at line 1 of the file that was asked for."""
        with pytest.raises(ConfigurationError) as caught:
            read(str(tmp_path / "none.toml"))
        assert str(caught.value) == (
            f"{tmp_path}/none.toml:1: cannot read: No such file or directory"
        )

    def test_a_directory(self, tmp_path: Path) -> None:
        """A directory opens, and cannot be read."""
        with pytest.raises(ConfigurationError, match=r":1: cannot read: Is a directory$"):
            read(str(tmp_path))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root is denied nothing")
    def test_a_file_of_somebody_else(self, tmp_path: Path) -> None:
        """Rights that are missing are a problem like any other."""
        (tmp_path / "netd.toml").touch(mode=0)
        with pytest.raises(ConfigurationError, match=r":1: cannot read: Permission denied$"):
            read(str(tmp_path / "netd.toml"))

    def test_what_fails_after_it_was_opened(self) -> None:
        """Reading can fail where opening did not."""
        with pytest.raises(ConfigurationError, match=r"^/proc/self/mem:1: cannot read: "):
            read("/proc/self/mem")


class TestNotText:
    def test_names_the_first_byte_and_its_line(self, tmp_path: Path) -> None:
        """Latin-1 is not UTF-8."""
        assert place_and_message(tmp_path, b"a = 1\n\nb = '\xe9'\n") == (
            3,
            "not UTF-8, which TOML is: byte 0xe9; save it as UTF-8",
        )

    def test_utf_16(self, tmp_path: Path) -> None:
        """An editor's other idea of Unicode."""
        line, message = place_and_message(tmp_path, "a = 1\n".encode("utf-16"))
        assert (line, message[:9]) == (1, "not UTF-8")

    def test_a_byte_order_mark_is_named(self, tmp_path: Path) -> None:
        """It cannot be seen, so that tomllib's "Invalid statement" would not help."""
        assert place_and_message(tmp_path, "\ufeffa = 1\n") == (
            1,
            "not TOML: starts with a byte order mark; save it as UTF-8 without one",
        )

    def test_characters_that_cannot_be_seen_are_spelt_out(self, tmp_path: Path) -> None:
        """Nothing from a file reaches a terminal as a control character."""
        line, message = place_and_message(tmp_path, "a = 1\n\x1b[31m = 2\n")
        assert line == 2
        assert message.isprintable()


class TestNotToml:
    @pytest.mark.parametrize(
        ("text", "line", "message"),
        [
            ("a = 1\nb = = 2\n", 2, "Invalid value; a string stands in quotes"),
            ("a = m:C\n", 1, "Invalid value; a string stands in quotes"),
            ("\n\n= 1\n", 3, "Invalid statement; a line has a [table] or a KEY = VALUE"),
            ("a = 1\na = 2\n", 2, "Cannot overwrite a value; the key is there already, and can be"
             " given once"),
            ("[a.b]\n[c]\n[a.b]\n", 3, "Cannot declare a.b twice; put the keys of both into one"),
            ('["a b"]\n["a b"]\n', 2, 'Cannot declare "a b" twice; put the keys of both into one'),
            ("a = {}\na.b = 1\n", 2, "Cannot mutate immutable namespace a"),
            ("a\n", 1, "Expected '=' after a key in a key/value pair"),
            ("a = 1 b = 2\n", 1, "Expected newline or end of document after a statement"),
            ("a = '\n'\n", 1, "Found invalid character '\\n'"),
            ("\na = '''\n\n\n", 2, "Expected \"'''\"; the file ends there"),
            ("a = 1\n[b", 2, "Expected ']' at the end of a table declaration; the file ends there"),
            ("a = 1\nb = [\n  2,\n\n  \n", 3, "Invalid value; the file ends there"),
            ("a = 1\r\nb = [\r\n  2,\r\n\r\n", 3, "Invalid value; the file ends there"),
            ('a = """\n\n\n', 1, "Unterminated string; the file ends there"),
            ("a =", 1, "Invalid value; the file ends there"),
            ('a = "\\x"\n', 1, "Unescaped '\\' in a string"),
            ("a = 1\rb = 2\n", 1, "Expected newline or end of document after a statement"),
            ("a = 2026-02-30\n", 1, "Invalid date or datetime"),
            ('a = {b = 1, "(\'x\'y)" = 1, "(\'x\'y)" = 2}\n', 1,
             "Duplicate inline table key \"('x'y)\""),
        ],
        ids=repr,
    )  # fmt: skip
    def test_says_where_and_what(self, tmp_path: Path, text: str, line: int, message: str) -> None:
        """The line that somebody has to look at; where the file ends, its last one with text."""
        assert place_and_message(tmp_path, text) == (line, f"not TOML: {message}")


class TestTooMuch:
    @pytest.mark.parametrize("brackets", ["[]", "{a=}"])
    def test_nesting_that_ends_the_parser(self, tmp_path: Path, brackets: str) -> None:
        """tomllib gives up with RecursionError; an operator sees a problem."""
        start, end = brackets[:-1], brackets[-1]
        line, message = place_and_message(tmp_path, f"a = {start * 5000}{end * 5000}\n")
        assert (line, message) == (
            1,
            f"lists and tables are nested more than {DEEPEST} deep: nest fewer of them",
        )

    @pytest.mark.parametrize(
        "text",
        [
            "[a]\nb = " + "[" * DEEPEST + "]" * DEEPEST,
            "[a.b" + ".c" * DEEPEST + "]",
            "[a]\nb" + ".c" * 2000 + " = 1",
        ],
        ids=["list", "header", "dotted key"],
    )
    def test_nesting_that_would_end_a_reader(self, tmp_path: Path, text: str) -> None:
        """What tomllib takes, but nothing after it could walk through, is refused at its line."""
        found = problem(tmp_path, f"\n{text}\n")
        assert found.line == text.count("\n") + 2
        assert found.key == "a.b"
        assert f"more than {DEEPEST} deep" in found.message

    def test_nesting_to_the_bound_is_taken(self, tmp_path: Path) -> None:
        """The bound is far from what tomllib refuses, so that no file falls between them."""
        depth = DEEPEST - 1
        assert document(tmp_path, "a = " + "[" * depth + "]" * depth).line(("a",)) == 1

    def test_a_number_of_thousands_of_digits(self, tmp_path: Path) -> None:
        """Python refuses to read it, in an exception that is not tomllib's own."""
        text = f"# 1234567890\na = 1\nb = 1{'0' * 5000}\n"
        assert place_and_message(tmp_path, text) == (
            3,
            "a number has thousands of digits; the largest number has 19",
        )


class TestProblem:
    def test_has_the_place_of_its_key(self, tmp_path: Path) -> None:
        """An element of a list is told by its line, the key is the list's."""
        found = document(tmp_path, "[a]\nb = [\n 1,\n 2,\n]\n").problem(("a", "b", 1), "wrong")
        assert (found.line, found.key, found.message) == (4, "a.b", "wrong")

    def test_is_one_line_without_control_characters(self, tmp_path: Path) -> None:
        """Whatever a file has for a key or a value, its problems are lines for a terminal."""
        found = document(tmp_path, "").problem(("a\nb", "\x1b[31m"), "c\r\nd\u202ee")
        assert str(found).isprintable()
        assert found.key == '"a\\nb"."\\u001b[31m"'
        assert found.message == "c\\r\\nd\\u202ee"


class TestDotted:
    @pytest.mark.parametrize(
        ("path", "key"),
        [
            ((), ""),
            (("services", "time", "listen", 0), "services.time.listen"),
            (("a-b", "c_d", "0"), "a-b.c_d.0"),
            (("services", "a.b"), 'services."a.b"'),
            (("", "a b"), '""."a b"'),
            (('say "x"', "é"), '"say \\"x\\""."é"'),
        ],
    )
    def test_is_what_a_file_would_have(self, path: tuple[str | int, ...], key: str) -> None:
        """A key is quoted where TOML quotes it, so that it can be searched for."""
        assert dotted(path) == key
