"""An echo by datagrams."""

from socketserver import DatagramRequestHandler


class Echo(DatagramRequestHandler):
    """Sends back what came, with a word before it."""

    def handle(self) -> None:
        self.wfile.write(b"echo: " + self.rfile.read())
