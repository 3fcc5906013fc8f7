"""Services that the worker's reactor runs: Twisted protocols and asynchronous handlers.

Everything here runs in the reactor's thread, and nothing may wait. Connections become Twisted's
transports only after they were accepted and have begun.
"""
