"""``netd.ipc.probe``: questions and answers as lines of JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.ipc.probe import (
    Facts,
    ProbeError,
    ProbeReply,
    ProbeRequest,
    ProbeRequests,
    ServerFacts,
    decode_reply,
    decode_requests,
    encode_reply,
    encode_requests,
)
from netd.model.service import Owner, Plugin, Program, Reference, Runs

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
ALMOST = st.tuples(
    st.sampled_from(["ProbeError", "Facts", "ProbeRequest", None, 1, []]),
    JSON
    | st.fixed_dictionaries(
        {},
        optional={
            "service": JSON,
            "key": JSON,
            "message": JSON,
            "requests": st.sampled_from(["stream", "datagram", "any"]) | JSON,
            "execution": st.sampled_from(["blocking", "reactor"]) | JSON,
            "sources": JSON,
            "server": JSON
            | st.fixed_dictionaries(
                {
                    "mixin": st.sampled_from(["thread", "process", None]) | JSON,
                    "reuse_port": JSON,
                    "backlog": st.integers() | JSON,
                    "datagram_size": JSON,
                    "children": JSON,
                }
            ),
            "notes": JSON,
        },
    ),
)
"""Values that resemble a reply."""

REFERENCES = st.builds(Reference, st.text(), st.text())
IDS = st.none() | st.integers(0, 2**32 - 2)
TEXTS = st.lists(st.text()).map(tuple)
RUNS = (
    st.builds(
        Runs,
        st.sampled_from(["handler", "server", "protocol"]),
        REFERENCES,
        st.none() | REFERENCES,
    )
    | st.builds(Program, st.text(), TEXTS, st.booleans())
    | st.builds(Plugin, st.text(), TEXTS)
)
NUMBERS = st.none() | st.integers(1)
SERVERS = st.builds(
    ServerFacts,
    st.sampled_from(["thread", "process", None]),
    st.booleans(),
    NUMBERS,
    NUMBERS,
    NUMBERS,
)


class TestQuestions:
    """From the daemon to a probe."""

    @given(
        st.builds(
            ProbeRequests,
            st.lists(st.text()).map(tuple),
            st.floats(0, 1e6),
            st.lists(
                st.builds(
                    ProbeRequest,
                    st.text(),
                    RUNS,
                    TEXTS,
                    st.none() | REFERENCES,
                    st.builds(Owner, IDS, IDS),
                ),
                max_size=3,
            ).map(tuple),
        )
    )
    def test_round_trip(self, questions: ProbeRequests) -> None:
        """A probe reads what it was asked."""
        text = encode_requests(questions)
        assert "\n" not in text
        assert decode_requests(text) == questions


class TestAnswers:
    """From a probe to the daemon."""

    @given(
        st.builds(ProbeError, st.text(), st.text(), st.text())
        | st.builds(
            Facts,
            st.text(),
            st.sampled_from(["stream", "datagram", "any"]),
            st.sampled_from(["blocking", "reactor", "program", "plugin"]),
            TEXTS,
            st.none() | SERVERS,
            st.booleans(),
            TEXTS,
        )
    )
    def test_round_trip(self, answer: ProbeReply) -> None:
        """The daemon reads what a probe said, in one line whatever is in it."""
        line = encode_reply(answer)
        assert line.splitlines() == [line]
        assert decode_reply(line) == answer


def facts(**wrong: Any) -> str:
    """Facts of a server, right but for what is *wrong*; of the server only what is named so."""
    server = {
        "mixin": None, "reuse_port": False, "backlog": 1, "datagram_size": None, "children": None
    }  # fmt: skip
    if wrong.get("server"):
        wrong["server"] = {**server, **wrong["server"]} if wrong["server"] != 5 else 5
    right = {
        "service": "s", "requests": "stream", "execution": "blocking", "sources": [],
        "server": server, "threads": False, "notes": [],
    }  # fmt: skip
    return json.dumps(["Facts", {**right, **wrong}])


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
            '["ProbeError", {}]',
            '["ProbeError", null]',
            '["ProbeError", ["service", "key", "message"]]',
            '["Facts", {"service": "s", "requests": "stream"}]',
            facts(requests="carrots"),
            facts(requests=["stream"]),
            facts(execution="thread"),
            facts(execution={}),
            facts(sources=3),
            facts(notes=None),
            facts(server=5),
            facts(server={}),
            facts(server={"mixin": "fork"}),
            facts(server={"mixin": ["thread"]}),
            facts(server={"backlog": "5"}),
            facts(server={"backlog": True}),
            facts(server={"datagram_size": 1.5}),
            facts(server={"children": []}),
            '[["ProbeError"], {"service": "s", "key": "k", "message": "m"}]',
            '["ProbeError", {"service": "s", "key": "k", "message": "m"}] and more',
            "[" * 1_000_000,
            '["ProbeError", {"service": ' + "[" * 100_000 + "]" * 100_000 + "}]",
        ],
        ids=lambda line: line[:40],
    )
    def test_no_answer(self, line: str) -> None:
        """What is no answer is a ValueError that shows where it began."""
        with pytest.raises(ValueError, match="not a probe reply") as caught:
            decode_reply(line)
        assert line[:50] in str(caught.value)
        assert len(str(caught.value)) < 300

    def test_almost_junk(self) -> None:
        """What the junk above is made of is an answer when nothing of it is wrong."""
        assert decode_reply(facts()) == Facts("s", "stream", "blocking", (), ServerFacts(backlog=1))

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
            answer = decode_reply(line)
        except ValueError:
            return True
        if isinstance(answer, ProbeError):
            return all(isinstance(x, str) for x in (answer.service, answer.key, answer.message))
        assert answer.requests in ("stream", "datagram", "any")
        assert answer.execution in ("blocking", "reactor", "program", "plugin")
        if answer.server is not None:
            assert answer.server.mixin in ("thread", "process", None)
            for number in (answer.server.backlog, answer.server.children):
                assert number is None or type(number) is int
        texts = (answer.service, *answer.sources, *answer.notes)
        return all(isinstance(text, str) for text in texts)
