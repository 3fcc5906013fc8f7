"""The time server by processes."""

from socketserver import ForkingMixIn, TCPServer


class ForkingTimeServer(ForkingMixIn, TCPServer):
    """Serves at most ten clients at a time, each in a process."""

    max_children = 10
