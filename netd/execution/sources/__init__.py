"""What requests come from: stream listeners, datagram sockets, the queue of the daemon's handoffs.

A source belongs to the worker. Its descriptor is a copy of the daemon's listener: a source neither
closes nor re-configures it.
"""
