"""Services that the worker's reactor runs: Twisted protocols and asynchronous handlers.

Everything here runs in the reactor's thread, and nothing may wait. A connection becomes one of
Twisted's transports only after it was accepted and its first bytes have come.
"""
