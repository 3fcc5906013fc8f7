"""What services are made of beside ``socketserver``: asynchronous handlers, and their registry."""

from netd.handlers.asynchronous import (
    AsyncDatagramRequestHandler,
    AsyncRequestHandler,
    AsyncStreamRequestHandler,
)
from netd.handlers.reading import Reader
from netd.handlers.registry import INamedHandler, NamedHandler
from netd.handlers.starttls import start_tls
from netd.handlers.streams import streams
from netd.handlers.writing import PacketWriter, Writer

__all__ = [
    "AsyncDatagramRequestHandler",
    "AsyncRequestHandler",
    "AsyncStreamRequestHandler",
    "INamedHandler",
    "NamedHandler",
    "PacketWriter",
    "Reader",
    "Writer",
    "start_tls",
    "streams",
]
