"""Frozen values that every room may have: services, addresses, peers, problems, units.

Imports nothing of netd. A value is made once, by ``config``, and never changed.
"""
