"""An XML-RPC server by processes, for this machine only."""

from socketserver import ForkingMixIn
from typing import Any
from xmlrpc.server import SimpleXMLRPCServer


def add(x: Any, y: Any) -> Any:
    """Return the sum."""
    return x + y


class AddingServer(ForkingMixIn, SimpleXMLRPCServer):
    """Offers ``add``; a client of any other address is turned away."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, logRequests=False)
        self.register_function(add)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return bool(client_address[0] == "127.0.0.1")
