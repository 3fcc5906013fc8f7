"""Small parts that know nothing of services: clocks, deadlines, back-off, sizes, exit statuses.

Imports nothing of netd. The parts that decide are pure, and get their clock from the caller.
"""
