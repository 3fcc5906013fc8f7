"""The TLS handshake in a child that serves one request, which may wait for its client."""

from __future__ import annotations

import time

from netd.accept.refusal import HANDSHAKE, TIMED_OUT, Refusal
from netd.execution.blocking_tls import Handshakes, failure_text
from netd.execution.request import Refused, Request
from netd.execution.serving import Serving, WithServing


class HandshakeFirst(WithServing):
    """Serves connections by *serving* after their handshake, in a process with a single client.

    So it may wait for that client, for *seconds*.
    """

    def __init__(self, serving: Serving, handshakes: Handshakes, seconds: float) -> None:
        super().__init__(serving)
        self._serving = serving
        self._handshakes = handshakes
        self._seconds = seconds

    def serve(self, thread: int, request: Request) -> None:
        """Shake hands with the client, and serve it."""
        since = time.monotonic()
        try:
            connection, certificate = self._handshakes.whole(request.raw, since + self._seconds)
        except TimeoutError:
            self.refuse(thread, Refused(request, Refusal(TIMED_OUT), since))
        except (OSError, ValueError) as error:
            refusal = Refusal(HANDSHAKE, failure_text(error))
            self.refuse(thread, Refused(request, refusal, since))
        else:
            self._serving.serve(thread, request._replace(raw=connection, certificate=certificate))
