"""``netd.ctl.inetd.lines``: what of a file counts, and where it stands."""

from __future__ import annotations

from netd.ctl.inetd.lines import Location, significant


class TestSignificant:
    def test_blank_lines_and_comments_do_not_count(self) -> None:
        """A comment may have blanks before it."""
        lines = list(significant("f", b"# a\n\n  \t\n \t# b\nc  d\te\n#f"))
        assert [(line.place, line.words) for line in lines] == [(Location("f", 5), ("c", "d", "e"))]

    def test_a_file_may_end_without_a_line_end_or_have_carriage_returns(self) -> None:
        """As files that went through other systems have them."""
        assert [line.words for line in significant("f", b"a b\r\nc")] == [("a", "b"), ("c",)]

    def test_only_a_line_feed_ends_a_line(self) -> None:
        """U+2028 and the like are characters of a word, as they are to the daemons."""
        (line,) = significant("f", "a\u2028b\x85c d".encode())
        assert line.words == ("a\u2028b\x85c", "d")

    def test_a_line_that_is_not_utf8_says_so(self) -> None:
        """Comments may be in any encoding, and old ones are."""
        (line,) = significant("f", b"# K\xf6ln\nK\xf6ln")
        assert not line.is_text
        (line,) = significant("f", "Köln".encode())
        assert line.is_text

    def test_a_line_with_a_nul_is_no_text(self) -> None:
        """Both daemons take it for the end of the line."""
        (line,) = significant("f", b"a\0b")
        assert not line.is_text

    def test_a_hash_inside_a_line_is_no_comment(self) -> None:
        """Neither daemon has comments at the end of a line."""
        (line,) = significant("f", b"a # b")
        assert line.words == ("a", "#", "b")
