"""A handler: what happens with a client, from the standard library's model of servers."""

from socketserver import StreamRequestHandler


class Hello(StreamRequestHandler):
    """Asks for a name, and greets."""

    def __init__(self, *socketserver: object, greeting: str = "Hello") -> None:
        # Whatever stands in [services.hello.options] comes after what socketserver passes. The
        # base class serves the client, so this comes last.
        self.greeting = greeting
        super().__init__(*socketserver)  # type: ignore[arg-type]

    def handle(self) -> None:
        self.wfile.write(b"What is your name? ")
        name = self.rfile.readline(1000).decode(errors="replace").strip()
        self.wfile.write(f"{self.greeting}, {name}!\n".encode())
