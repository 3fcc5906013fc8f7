"""What users import beside ``socketserver``: asynchronous handlers, their files, and STARTTLS.

``asynchronous`` has the handler classes; ``reading``, ``writing`` and ``streams`` are their
``rfile`` and ``wfile``; ``starttls`` is for blocking handlers; ``registry`` finds a handler by a
word, and ``small`` are the handlers of netd's own. All names of ``__all__`` are public: they keep
their meaning from one version of netd to the next.

Imports ``model`` and ``core``. Two rules hold here:

* A handler's base class adds nothing to what ``socketserver`` gives: ``request``,
  ``client_address``, ``server``, and for streams ``rfile`` and ``wfile``.
* Each file of a handler bounds the memory that its client can cost.
"""

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
