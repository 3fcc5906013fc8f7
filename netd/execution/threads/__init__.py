"""A pool of threads, each of which accepts a connection, serves it and accepts the next.

A thread re-arms its listener before anything that can block, so that no connection waits behind a
handler while another thread is idle.
"""
