"""``netd.values.probe``: questions and answers as lines of JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.values.probe import (
    Answer,
    Facts,
    Fault,
    Question,
    Questions,
    decode_answer,
    decode_questions,
    encode_answer,
    encode_questions,
)
from netd.values.service import Owner, Reference

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
ALMOST = st.tuples(
    st.sampled_from(["Fault", "Facts", "Question", None, 1, []]),
    JSON
    | st.fixed_dictionaries(
        {},
        optional={
            "service": JSON,
            "key": JSON,
            "message": JSON,
            "requests": st.sampled_from(["stream", "datagram", "any"]) | JSON,
            "sources": JSON,
        },
    ),
)
"""Values that look like an answer at first sight."""

REFERENCES = st.builds(Reference, st.text(), st.text())
IDS = st.none() | st.integers(0, 2**32 - 2)


class TestQuestions:
    """From the daemon to a probe."""

    @given(
        st.builds(
            Questions,
            st.lists(st.text()).map(tuple),
            st.floats(0, 1e6),
            st.lists(
                st.builds(
                    Question,
                    st.text(),
                    REFERENCES,
                    st.none() | REFERENCES,
                    st.builds(Owner, IDS, IDS),
                ),
                max_size=3,
            ).map(tuple),
        )
    )
    def test_round_trip(self, questions: Questions) -> None:
        """A probe reads what it was asked."""
        text = encode_questions(questions)
        assert "\n" not in text
        assert decode_questions(text) == questions


class TestAnswers:
    """From a probe to the daemon."""

    @given(
        st.builds(Fault, st.text(), st.text(), st.text())
        | st.builds(
            Facts,
            st.text(),
            st.sampled_from(["stream", "datagram", "any"]),
            st.lists(st.text()).map(tuple),
        )
    )
    def test_round_trip(self, answer: Answer) -> None:
        """The daemon reads what a probe said, in one line whatever is in it."""
        line = encode_answer(answer)
        assert line.splitlines() == [line]
        assert decode_answer(line) == answer


class TestJunk:
    """A module that a probe imports may print anything."""

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "hello",
            "{}",
            "[]",
            "null",
            '"ab"',
            '["Fault", {}]',
            '["Fault", null]',
            '["Fault", ["service", "key", "message"]]',
            '["Facts", {"service": "s", "requests": "stream"}]',
            '["Facts", {"service": "s", "requests": "carrots", "sources": []}]',
            '["Facts", {"service": "s", "requests": ["stream"], "sources": []}]',
            '["Facts", {"service": "s", "requests": "stream", "sources": 3}]',
            '[["Fault"], {"service": "s", "key": "k", "message": "m"}]',
            '["Fault", {"service": "s", "key": "k", "message": "m"}] and more',
            "[" * 1_000_000,
            '["Fault", {"service": ' + "[" * 100_000 + "]" * 100_000 + "}]",
        ],
        ids=lambda line: line[:40],
    )
    def test_no_answer(self, line: str) -> None:
        """What is no answer is a ValueError that shows where it began."""
        with pytest.raises(ValueError, match="not an answer") as caught:
            decode_answer(line)
        assert line[:50] in str(caught.value)
        assert len(str(caught.value)) < 300

    @given(st.text(st.characters()))
    def test_any_line(self, line: str) -> None:
        """No line does anything worse."""
        assert self._is_answer_or_refused(line)

    @given(JSON | ALMOST)
    def test_any_json(self, value: Any) -> None:
        """What is taken for an answer consists of text."""
        assert self._is_answer_or_refused(json.dumps(value))

    @staticmethod
    def _is_answer_or_refused(line: str) -> bool:
        try:
            answer = decode_answer(line)
        except ValueError:
            return True
        if isinstance(answer, Fault):
            return all(isinstance(x, str) for x in (answer.service, answer.key, answer.message))
        return isinstance(answer.service, str) and all(isinstance(s, str) for s in answer.sources)
