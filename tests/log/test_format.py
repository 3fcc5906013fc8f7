"""``netd.log.format``: records as lines, and nothing of a client's that passes for more."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.log.format import JsonLines, LineForm, TextLines, escape_controls, line_form
from netd.log.record import AccessRecord, Traffic
from netd.model.log import LEVELS

WHEN = 1_700_000_000.25

ANY_TEXT = st.text(st.characters())
"""Lone surrogates too, which stand for bytes of a name or a print that are no UTF-8."""

TURNING = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
"""The kinds of characters that turn the direction of what comes after them."""

MARKS = "\u061c\u200e\u200f"
"""Those that turn what is beside them, without being seen."""

FIGURES = st.none() | st.integers(0, 2**63)


def served(
    form: LineForm,
    *,
    when: float = WHEN,
    client: str = "192.0.2.1:4711",
    verdict: str = "served",
    seconds: float = 0.0123,
    received: int | None = 10,
    sent: int | None = 20,
) -> str:
    carried = Traffic(received, sent)
    return form.served(when, AccessRecord(0.0, "time", "tcp", client, verdict, seconds, carried))


def body_of(text: str) -> str:
    """How *text* is logged for people, without time, service and end of line."""
    line = TextLines().said(WHEN, "s", "info", text)
    assert line.endswith("\n")
    return line[line.index("] ") + 2 : -1]


def read(line: str) -> dict[str, Any]:
    """The object of a line, of which there is one."""
    assert line.endswith("\n")
    assert line.count("\n") == 1
    values = json.loads(line)
    assert isinstance(values, dict)
    return values


def well_formed(text: str) -> str:
    """*text* with pairs of surrogates as the one character that they are, to JSON too."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


class TestText:
    @pytest.mark.parametrize(
        ("received", "sent", "figures"),
        [(10, 20, "in=10 out=20"), (0, 0, "in=0 out=0"), (None, None, "in=- out=-")],
    )
    def test_served(self, received: int | None, sent: int | None, figures: str) -> None:
        """A request that has ended: who, how, the outcome, how long, how much."""
        line = served(TextLines(), received=received, sent=sent)
        expected = f"[time#info] 192.0.2.1:4711 tcp served 12.3ms {figures}\n"
        assert line.partition(" ")[2] == expected

    def test_said(self) -> None:
        """A text stands after its service and level."""
        line = TextLines().said(WHEN, "chat", "warn", "out of biscuits")
        assert line.partition(" ")[2] == "[chat#warn] out of biscuits\n"

    def test_said_by_netd(self) -> None:
        """What no service says is netd's."""
        line = TextLines().said(WHEN, None, "warn", "full")
        assert line.partition(" ")[2] == "[netd#warn] full\n"

    def test_several_lines(self) -> None:
        """Further lines are indented, so that none of them passes for a record."""
        assert body_of("one\ntwo\n\nthree") == "one\n\ttwo\n\t\n\tthree"

    def test_control_characters(self) -> None:
        """What would steer a terminal is shown; tabs and newlines are text."""
        assert body_of("\x1b[2J\r\x07\x00\x7f\x9b1m\x85\tx") == (
            r"\x1b[2J\x0d\x07\x00\x7f\x9b1m\x85" + "\tx"
        )

    @given(st.text(st.characters(max_codepoint=0x2FF)))
    def test_nothing_steers_a_terminal(self, text: str) -> None:
        """No text leaves a control character but tab and newline, or starts a line of its own."""
        lines = body_of(text).split("\n")
        assert all(line.startswith("\t") for line in lines[1:])
        assert not any(
            ord(letter) < 32 or 127 <= ord(letter) < 160
            for line in lines
            for letter in line.replace("\t", "")
        )


class TestHarmless:
    def test_letters(self) -> None:
        """Control characters and what turns the direction are escaped, all others stay."""

        def harms(letter: str) -> bool:
            if unicodedata.category(letter) == "Cc":
                return letter not in "\t\n"
            return unicodedata.bidirectional(letter) in TURNING or letter in MARKS

        letters = [chr(code) for code in range(0x3000)]
        escaped = [letter for letter in letters if escape_controls(letter) != letter]
        assert escaped == [letter for letter in letters if harms(letter)]
        assert all(escape_controls(letter).isprintable() for letter in escaped)

    @given(ANY_TEXT)
    def test_text(self, text: str) -> None:
        """A text is its letters."""
        assert escape_controls(text) == "".join(map(escape_controls, text))


class TestJson:
    @given(
        client=ANY_TEXT,
        verdict=st.sampled_from(["served", "failed"]),
        seconds=st.floats(0, 1e9),
        received=FIGURES,
        sent=FIGURES,
    )
    def test_served(
        self, client: str, verdict: str, seconds: float, received: int | None, sent: int | None
    ) -> None:
        """Each figure has a key of its own, and comes back as it was."""
        values = read(
            served(
                JsonLines(),
                client=client,
                verdict=verdict,
                seconds=seconds,
                received=received,
                sent=sent,
            )
        )
        assert values.pop("seconds") == pytest.approx(seconds, abs=1e-6)
        assert values.pop("message").startswith(well_formed(f"{client} tcp {verdict} "))
        assert datetime.fromisoformat(values.pop("time")).timestamp() == WHEN
        assert values == {
            "level": "info",
            "service": "time",
            "client": well_formed(client),
            "transport": "tcp",
            "verdict": verdict,
            "reason": None,
            "bytes_in": received,
            "bytes_out": sent,
            "round_trip": None,
        }

    def test_round_trip(self) -> None:
        """Where somebody has measured it."""
        carried = Traffic(1, 2, 0.0005)
        record = AccessRecord(0.0, "s", "tcp", "::1", "served", 0.1, carried)
        line = JsonLines().served(1.0, record)
        assert read(line)["round_trip"] == 0.0005

    @pytest.mark.parametrize("verdict", ["refused", "would be refused"])
    @given(reason=ANY_TEXT.filter(bool))
    def test_refused(self, verdict: str, reason: str) -> None:
        """The reason stands apart from the verdict, whatever is in it."""
        values = read(served(JsonLines(), verdict=f"{verdict}: {reason}"))
        assert (values["verdict"], values["reason"]) == (verdict, well_formed(reason))

    def test_message_of_a_request(self) -> None:
        """Who reads nothing but messages reads what the text has."""
        text = served(TextLines()).partition("] ")[2].rstrip("\n")
        assert read(served(JsonLines()))["message"] == text

    @given(ANY_TEXT, st.none() | ANY_TEXT, st.sampled_from(LEVELS))
    def test_said(self, text: str, service: str | None, level: str) -> None:
        """Four keys, and any text comes back as it was, a traceback with its lines."""
        values = read(JsonLines().said(WHEN, service, level, text))
        assert datetime.fromisoformat(values.pop("time")).timestamp() == WHEN
        assert values == {
            "level": level,
            "service": None if service is None else well_formed(service),
            "message": well_formed(text),
        }

    @given(ANY_TEXT)
    def test_nothing_steers_a_terminal(self, text: str) -> None:
        """A line is printable ASCII, whatever is in it."""
        for line in (
            JsonLines().said(WHEN, text, "info", text),
            served(JsonLines(), client=text, verdict=text),
        ):
            assert all(" " <= letter <= "~" for letter in line[:-1])

    def test_the_same_keys_first(self) -> None:
        """In the order in which people look for them."""
        request, text = read(served(JsonLines())), read(JsonLines().said(WHEN, "s", "info", "x"))
        assert list(text) == ["time", "level", "service", "message"]
        assert list(request)[:4] == list(text)


def text_time(when: float) -> str:
    return TextLines().said(when, "s", "info", "x").partition(" ")[0]


def json_time(when: float) -> str:
    return str(read(JsonLines().said(when, "s", "info", "x"))["time"])


class TestTime:
    @given(st.floats(0, 4e9))
    def test_is_the_time(self, when: float) -> None:
        """With the zone; to the second for people, to the millisecond for programs."""
        assert datetime.fromisoformat(text_time(when)).timestamp() == int(when)
        assert 0 <= when - datetime.fromisoformat(json_time(when)).timestamp() < 0.001_001

    def test_looks(self) -> None:
        """As twisted.logger writes it, and as RFC 3339 does."""
        assert len(text_time(WHEN)) == len("2023-11-14T22:13:20+0000")
        assert len(json_time(WHEN)) == len("2023-11-14T22:13:20.250+00:00")

    @pytest.mark.parametrize("form", [TextLines, JsonLines])
    def test_goes_on(self, form: Callable[[], LineForm]) -> None:
        """One writer's times follow the clock, forwards and backwards."""
        lines = form()
        whens = [WHEN, WHEN + 0.5, WHEN + 0.8, WHEN - 100, WHEN]
        assert [served(lines, when=when) for when in whens] == [
            served(form(), when=when) for when in whens
        ]


def test_form_by_name() -> None:
    """The two forms that workers and the daemon tell each other of."""
    assert isinstance(line_form("text"), TextLines)
    assert isinstance(line_form("json"), JsonLines)
