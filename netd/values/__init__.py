"""Frozen values that every other part of netd speaks in; this package imports nothing of netd."""
