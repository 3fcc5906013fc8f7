"""Checks before anything is bound, and before a reload: code, options, rights, certificates.

It may use ``config`` and everything below it. The daemon imports no user code: a probe process does
that and reports what it found. Every problem is located in the file, and all are reported together.
A check blocks, so a running daemon does it in a thread.
"""
