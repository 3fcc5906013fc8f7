"""Main files for Hypothesis to draw: valid, with any of the keys, and defaults for all services."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.config.test_generated import durations, names, rest, services, tables, written

_ADDRESSES = ("tcp:{}", "udp6:{}:interface=[::1]", "unix:@{}", "unixgram:run/{}:mode=600")


def _file(
    drawn: dict[str, tuple[dict[str, Any], dict[str, Any], str]],
    defaults: dict[str, Any],
    graceful: Any,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "defaults": written(defaults),
        "services": {
            name: {"listen": [address.format(1 + number)], **written(keys), **written(more)}
            for number, (name, (keys, more, address)) in enumerate(drawn.items())
        },
    }
    if graceful is not None:
        found["daemon"] = {"graceful_timeout": graceful.written}
    return found


main_files = st.builds(
    _file,
    st.dictionaries(
        names,
        st.tuples(services, tables(rest), st.sampled_from(_ADDRESSES)),
        min_size=1,
        max_size=3,
    ),
    st.builds(lambda keys, more: {**keys, **more}, services | st.just({}), tables(rest)),
    durations | st.none(),
)
"""What is written in a main file, as a dictionary."""
