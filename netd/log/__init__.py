"""The log: records, the buffer of a worker, their forms, and the destinations of the daemon.

No thread waits for the log. Every queue is bounded; records that did not fit are counted.
Imports ``model`` and ``core``.
"""
