"""``netdctl import``: from the configuration of inetd or xinetd to one of netd.

Pure, except for ``machine``, which reads files and asks ``config`` what it would refuse. May import
``config`` and ``model``. Rules that hold here:

* No service admits more clients than before: without a counterpart for a restriction, it is off.
* What has no counterpart is said in a comment of the output, and nothing is dropped silently.
* netd accepts the output: a table that it would refuse is printed as a comment.
"""
