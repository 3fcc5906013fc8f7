"""The TLS handshake in a child that serves one request, which may wait for its client."""

from __future__ import annotations

import time

from netd.accept.pending import TIMED_OUT
from netd.execution.blocking_tls import Handshakes, failure_text
from netd.execution.request import Refused, Taken
from netd.execution.serving import Serving, WithServing
from netd.execution.threads.pending import HANDSHAKE


class HandshakeFirst(WithServing):
    """Serves connections by *serving* after their handshake, where a process has one client only.

    So it may wait for that client, for *seconds*.
    """

    def __init__(self, serving: Serving, handshakes: Handshakes, seconds: float) -> None:
        super().__init__(serving)
        self._serving = serving
        self._handshakes = handshakes
        self._seconds = seconds

    def serve(self, thread: int, taken: Taken) -> None:
        """Shake hands with the client, and serve it."""
        since = time.monotonic()
        try:
            request, certificate = self._handshakes.whole(taken.request, since + self._seconds)
        except TimeoutError:
            self.refuse(thread, Refused(taken, TIMED_OUT, "", since))
        except (OSError, ValueError) as error:
            detail = failure_text(error)
            self.refuse(thread, Refused(taken, HANDSHAKE, detail, since))
        else:
            self._serving.serve(thread, taken._replace(request=request, certificate=certificate))
