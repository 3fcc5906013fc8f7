"""From accept(2) to the moment that a connection can be served. No user code runs here.

Threads, the reactor, forks, the daemon and the admin listener accept by the parts of this room, and
differ only in how they wait. Imports ``admission``, ``listening`` and what is below them.

* An accept loop accepts: no name look-up, no handshake, no log call that can block.
* When descriptors or memory run out, a listener pauses, and the log says so once.
* A connection whose first bytes have not come costs a descriptor and a small object, no thread.
"""
