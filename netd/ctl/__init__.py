"""netdctl: the command line, and all that only it needs.

It speaks to a running daemon through the admin socket. It imports neither ``worker`` nor
``execution``; ``check`` and ``plan`` run the daemon's own checks in this process.
"""
