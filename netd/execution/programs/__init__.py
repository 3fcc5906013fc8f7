"""Programs that serve connections as inetd's do, with or without ``wait``, and their TLS relay."""
