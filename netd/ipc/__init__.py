"""Messages between two of netd's processes, and the memory that they share.

``worker`` is the channel between the daemon and a worker, ``forkserver`` the socket between the
daemon and its fork server, ``probe`` the pipe to and from a probe process, ``handoff`` the queue of
connections that the daemon has accepted for its workers, and ``scoreboard`` the shared page of a
service. The modules define the messages and their bytes; ``daemon`` and ``worker`` own the sockets.

Imports ``model`` and ``core``. Three rules hold here:

* Messages to a worker are pickled, since the daemon commands its workers in any case.
* Messages from a process that runs user code are JSON or text, are bounded in length, and are
  checked field by field. Nothing that such a process sends can raise more than one named error.
* A descriptor that is received is close-on-exec from its first moment, so that no program that
  another thread starts meanwhile inherits it.
"""
