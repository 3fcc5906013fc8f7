"""A process for every request, as ``socketserver.ForkingMixIn`` has it.

A child serves one request, sends its log to the worker and ends; it never returns to the reactor.
"""
