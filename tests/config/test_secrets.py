"""``netd.config.secrets``: what must not be printed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.config.secrets import HIDDEN, hide, is_secret

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----\n"


class TestIsSecret:
    @pytest.mark.parametrize(
        "key",
        [
            "password", "db_password", "PASSWORD", "passwd", "passphrase", "pass", "smtp-pass",
            "pwd", "secret", "client_secret", "secrets", "token", "auth_token", "tokens", "auth",
            "key", "keys", "api_key", "apikey", "API-KEY", "private_key", "privatekey", "key2",
            "credentials", "AWS_SECRET_ACCESS_KEY", "aws.access.key",
        ],
    )  # fmt: skip
    def test_what_people_call_secrets(self, key: str) -> None:
        """In options of handlers and in the environment."""
        assert is_secret(key)

    @pytest.mark.parametrize(
        "key", ["keyboard", "monkey", "directory", "compass", "author", "user", "", "bypass"]
    )
    def test_what_only_looks_like_one(self, key: str) -> None:
        """A word in another word."""
        assert not is_secret(key)


class TestHide:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ({"password": "x"}, {"password": HIDDEN}),
            ({"pin": {"token": 5, "on": True}}, {"pin": {"token": HIDDEN, "on": True}}),
            ({"secrets": {"a": "x", "b": ["y"]}}, {"secrets": {"a": HIDDEN, "b": [HIDDEN]}}),
            ([{"key": "x", "name": "y"}], [{"key": HIDDEN, "name": "y"}]),
            ({"tokens": True}, {"tokens": True}),
            ({"pem": KEY}, {"pem": HIDDEN}),
            ({"url": "postgres://me:word@host/db"}, {"url": HIDDEN}),
            (["--port=80", "--db-password=x"], ["--port=80", HIDDEN]),
            ({"url": "http://host:80/a@b"}, {"url": "http://host:80/a@b"}),
        ],
    )
    def test_takes_secrets_out(self, value: Any, expected: Any) -> None:
        """By the key, however deep it is, or by what the text is."""
        assert hide(value) == expected

    def test_everything_of_what_is_secret(self) -> None:
        """The key around a value says it."""
        assert hide("x", secret=True) == hide(5, secret=True) == HIDDEN

    @given(
        st.recursive(
            st.integers() | st.floats() | st.booleans() | st.text("ab:/@"),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("ab"), inner),
        )
    )
    def test_leaves_the_rest_as_it_is(self, value: Any) -> None:
        """The same object, so that a caller sees that nothing was hidden."""
        assert hide(value) is value or HIDDEN in str(hide(value))
