"""The time, for people at ``openssl s_client`` and for browsers."""

import time
from socketserver import StreamRequestHandler


class TlsTimeServer(StreamRequestHandler):
    """Answers a browser by HTTP, and whoever says anything else, or nothing, with the bare time."""

    timeout = 1.0  # seconds that a browser has for its request

    def handle(self) -> None:
        reply = (time.ctime() + "\r\n").encode()
        if self.is_asked_by_http():
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        self.wfile.write(reply)

    def is_asked_by_http(self) -> bool:
        """Read a request as far as its empty line (RFC 9112, section 2)."""
        try:
            is_http = self.rfile.readline(8192).rstrip().endswith((b"HTTP/1.0", b"HTTP/1.1"))
            while is_http and self.rfile.readline(8192).strip():
                pass
        except TimeoutError:
            return False
        return is_http
