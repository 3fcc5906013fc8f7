"""A process for every request, as with ``socketserver.ForkingMixIn``.

A child serves one request, sends its log to the worker and ends; it never returns to the reactor.
"""
