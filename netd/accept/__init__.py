"""From accept(2) to the moment that a connection can be served. No user code runs here.

Threads, the reactor, forks, the daemon and the admin listener accept by the parts of this room.
They differ in how they wait and in what they serve with. How a connection is accepted, what comes
next for it, and when it is refused is decided here, once. Imports ``admission``, ``listening`` and
what is below them.

* ``errors`` and ``next_step`` decide, and are pure. ``loop``, ``pause``, ``pending`` and
  ``watched`` act.
* When descriptors or memory run out, a listener pauses, and the log says so once per outage.
* What goes wrong after accept(2) costs one connection, never the listener.
* A connection whose first bytes have not come costs a descriptor and a small object, no thread.
* A bound on pending connections is enforced in ``PendingConnections`` and ``next_step``, so it
  holds for every execution.
"""
