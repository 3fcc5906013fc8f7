"""A pool of threads, each of which accepts a connection, serves it and accepts the next.

A thread re-arms its listener before anything that can block, so that no connection waits behind a
handler while another thread is idle. ``pool`` is the loop, ``sizing`` says how many threads there
are, ``epoll`` is what they wait in, ``pending`` what precedes a request.
"""
