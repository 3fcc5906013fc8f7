"""A handler, written for the standard library's socketserver."""

from socketserver import StreamRequestHandler


class Hello(StreamRequestHandler):
    """Asks a client for a name, and greets it."""

    def __init__(self, *socketserver: object, greeting: str = "Hello") -> None:
        # The keys of [services.hello.options] come after the arguments that socketserver passes.
        # The base class serves the client in its constructor, so this call comes last.
        self.greeting = greeting
        super().__init__(*socketserver)  # type: ignore[arg-type]

    def handle(self) -> None:
        self.wfile.write(b"What is your name? ")
        name = self.rfile.readline(1000).decode(errors="replace").strip()
        self.wfile.write(f"{self.greeting}, {name}!\n".encode())
