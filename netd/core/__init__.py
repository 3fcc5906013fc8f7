"""Small parts that know nothing of services: clocks, deadlines, back-off, sizes, exit statuses.

Imports nothing of netd. What decides here is pure, and gets its clock from the caller.
"""
