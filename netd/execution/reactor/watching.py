"""Transports that notice a client that closes its connection while the protocol does not read."""

from __future__ import annotations

from twisted.internet import main

from netd.execution.reactor.sending import SendingServer


class WatchingServer(SendingServer):
    """Twisted's transport, which is watched for hang-ups while its protocol has paused reading."""

    _is_paused: bool
    _has_finished: bool

    def pauseProducing(self) -> None:
        super().pauseProducing()  # type: ignore[no-untyped-call]
        self._watch_for_hangup()

    def resumeProducing(self) -> None:
        if self._has_finished:  # the protocol would be told of the end again
            return
        if self._is_paused:
            self._forget_hangup()
        super().resumeProducing()  # type: ignore[no-untyped-call]

    def _watch_for_hangup(self) -> None:
        if self.connected:
            self._is_paused = True
            self._place.hangups.watch(self)

    def _forget_hangup(self) -> None:
        self._is_paused = False
        self._place.hangups.forget(self)

    def hung_up(self, *, broken: bool) -> None:
        """Both directions have ended while the protocol does not read.

        If *broken*, or if everything has been read and there could still be an answer, the
        client has gone.
        """
        self._is_paused = False
        if broken or (self._has_finished and not self._writeDisconnected):
            self.end(main.CONNECTION_LOST)
