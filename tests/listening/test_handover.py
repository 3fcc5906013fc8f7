"""``netd.listening.handover``: what one daemon tells the next of a listener."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from netd.listening.binding import Listeners, bind_all
from netd.listening.description import parse
from netd.listening.handover import VARIABLE, received, variable
from netd.listening.options import read
from netd.values.service import Reference, Runs, Service

OPTIONS = (read("SO_RCVTIMEO", "2s"), read("IP_TOS", 16))


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    service = Service(
        "a",
        (parse("udp:0:interface=127.0.0.1"),),
        Runs("handler", Reference("m", "H")),
        "a",
        socket=OPTIONS,
    )
    with closing(bind_all([service])) as made:
        yield made


def passed(text: str) -> Listeners:
    """What the next daemon makes of it; the descriptors are other ones, as after a fork."""
    values = json.loads(text)
    for one in values["listeners"]:
        one["descriptor"] = os.dup(one["descriptor"])
    found = received({VARIABLE: json.dumps(values)})
    assert found is not None
    return found.listeners


class TestOptions:
    def test_are_known_to_the_next_daemon(self, listeners: Listeners) -> None:
        """So it can take back what its configuration does not have any more."""
        ready, end = os.pipe()
        with closing(passed(variable(listeners, ready, ()))) as found:
            (listener,) = found
            assert listener.options == OPTIONS
        os.close(ready)
        os.close(end)

    def test_that_another_version_does_not_know(self, listeners: Listeners) -> None:
        """Or does not tell: nothing is known of them."""
        ready, end = os.pipe()
        values = json.loads(variable(listeners, ready, ()))
        values["listeners"][0]["options"][0]["name"] = "SO_FUTURE"
        with closing(passed(json.dumps(values))) as found:
            (listener,) = found
            assert listener.options == OPTIONS[1:]
        del values["listeners"][0]["options"]
        with closing(passed(json.dumps(values))) as found:
            (listener,) = found
            assert listener.options == ()
        os.close(ready)
        os.close(end)
