"""netdctl: the command line, and all that only it needs.

May import ``config``, ``daemon.check`` and what is below them; never ``worker`` or ``execution``.
Rules that hold here:

* A command talks to the running daemon only through the admin socket.
* ``check`` and ``print-config`` run the daemon's checks in this process, so they need no daemon.
* A command imports what it needs when it runs, so that netdctl starts fast.
"""
